"""How live tests reach the lab: its command, its servers, its service, and a way back after they broke something."""

import json
import os
import shlex
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

ROOT = Path(__file__).parents[2]
LAB = Path("/var/lib/dsops-lab")
SECRETS = LAB / "secrets"
INVENTORY = ROOT / "inventory/lab.py"
ENDPOINT = "https://10.99.0.10"
NUMBERS = {"lb1": 10, "gpu1": 11, "gpu2": 12, "gpu3": 13, "mon1": 20}
GPUS = ("gpu1", "gpu2", "gpu3")
HOLD_SECONDS = 15  # inventory/group_data/lab.py: an agent that just started does not act
FORGET = """
import sqlite3, subprocess
path = "/var/lib/dsops-agent/history.db"
if sqlite3.connect(path).execute("select 1 from kept where key = 'restarts'").fetchall():
    subprocess.run(["systemctl", "stop", "dsops-agent"], check=True)
    with sqlite3.connect(path) as database:
        database.execute("delete from kept where key = 'restarts'")
    subprocess.run(["systemctl", "start", "dsops-agent"], check=True)
    print("forgot")
"""
WHO = ("--who", "live test", "--reason", "live test")
# Whatever a test stopped, wedged, filled up or hid goes on again.
WAKE = """
rm -f /var/cache/dsops-triton/*/ill /var/lib/dsops/full /var/lib/dsops/rest
test ! -e /etc/dsops/store.toml.kept || mv /etc/dsops/store.toml.kept /etc/dsops/store.toml
for unit in triton@a triton@b dsops-gateway dsops-agent dsops-helper; do
    systemctl kill --signal=CONT $unit 2>/dev/null
done
systemctl reset-failed
systemctl start dsops-helper.socket dsops-gateway dsops-agent
"""
# What was waited for longer than half of what it may take, in this run.
CLOSE: list[str] = []
ADDRESSES = {name: f"10.99.0.{number}" for name, number in NUMBERS.items()}


def dsops(*words: str | Path, timeout: float = 300, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs the command as an operator would."""
    argv = [sys.executable, "-m", "dsops", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd)


def ssh(node: str, command: str, *, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs a shell command on a lab server as root."""
    return ssh_to(ADDRESSES[node], command, stdin=stdin, timeout=timeout)


def ssh_to(address: str, command: str, *, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """The same by address, with the lab's key and its pinned host keys."""
    argv = ["ssh", "-q", "-i", LAB / "ssh/id_ed25519", "-o", f"UserKnownHostsFile={LAB}/ssh/known_hosts"]
    argv += ["-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5", f"root@{address}", command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, input=stdin)


def on(node: str, command: str, *, timeout: float = 60) -> str:
    """Its output. Fails the test when the command fails."""
    done = ssh(node, command, timeout=timeout)
    assert done.returncode == 0, f"{node}: {command}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def healthy(node: str) -> bool:
    """Whether a gpu server's gateway says that it serves."""
    try:
        with urllib.request.urlopen(f"http://{ADDRESSES[node]}:8080/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def balancer() -> dict[str, dict[str, object]]:
    """What the balancer says of each node, by name."""
    with urllib.request.urlopen(f"http://{ADDRESSES['lb1']}:9412/v1/status", timeout=10) as answer:
        said = json.load(answer)
    return {node["node"]: node for node in said["nodes"]}


def wait(what: str, look: Callable[[], bool], *, seconds: float = 60) -> float:
    """Seconds until `look` was true; what raises OSError is not yet. Fails the test after `seconds`."""
    since = time.monotonic()
    while not _is_true(look):
        assert time.monotonic() - since < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return note_close(what, time.monotonic() - since, seconds=seconds)


def note_close(what: str, took: float, *, seconds: float) -> float:
    """The seconds that it took; those that were more than half of what it may take are told at the end of the run."""
    if took > seconds / 2:
        CLOSE.append(f"{took:5.1f} of {seconds:g} s: {what} ({os.environ.get('PYTEST_CURRENT_TEST', '')})")
    return took


def _is_true(look: Callable[[], bool]) -> bool:
    try:
        return look()
    except OSError:
        return False


def read_agent(node: str, path: str = "/v1/status", *, timeout: float = 10) -> dict[str, Any]:
    """What a node's agent says. Raises OSError when it says nothing."""
    with urllib.request.urlopen(f"http://{ADDRESSES[node]}:9410{path}", timeout=timeout) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


def find_status(node: str) -> dict[str, Any] | None:
    """The same status, None while nobody answers."""
    try:
        return read_agent(node, timeout=2)
    except (OSError, ValueError):
        return None


def node_door(node: str, *words: str, stdin: str = "", timeout: float = 90) -> subprocess.CompletedProcess[str]:
    """`dsops node WORDS` as root at the node's console."""
    line = shlex.join(["/opt/dsops/venv/bin/dsops", "node", *words])
    return ssh(node, line, stdin=stdin, timeout=timeout)


def get_good() -> str:
    """The bundle's release: the one that every node serves unless a test does something."""
    return str(json.loads((LAB / "bundle/current/bundle.json").read_text())["release"])


def restore() -> None:
    """Every server up, and every gpu server as it was: undrained, cleared, the good release with the traffic."""
    trouble = find_trouble()
    if not trouble:
        return
    if not all(is_up(address) for address in ADDRESSES.values()):
        done = dsops("lab", "up")
        assert done.returncode == 0, done.stderr
    end = time.monotonic() + 150
    while trouble and time.monotonic() < end:
        with ThreadPoolExecutor(len(GPUS)) as pool:
            list(pool.map(restore_node, GPUS))
        # A node that was cleared may do by itself, the moment after, what it was kept from.
        trouble = wait_well(seconds=15)
    assert not trouble, f"the lab does not come to rest: {trouble}"


def wait_well(*, seconds: float) -> str:
    """The trouble that is left after so long, "" when none is."""
    since = time.monotonic()
    while (trouble := find_trouble()) and time.monotonic() - since < seconds:
        time.sleep(0.2)
    return trouble


def restore_node(node: str) -> None:
    """Undrained, not halted, nothing marked bad, and the good release active."""
    good = get_good()
    if not find_left(find_status(node), good=good) and healthy(node):
        return
    ssh(node, WAKE)
    wait(f"{node}: agent and gateway up", lambda: find_status(node) is not None and _answers(node))
    wait(f"{node}: no move", lambda: not read_agent(node)["move"], seconds=120)
    status = read_agent(node)
    if status["drained"]:
        node_door(node, "undrain", "--who", "live test")
    # What a check found and latched keeps a node out of traffic until a person looked.
    if status["halted"] or status["last_rollback_at"] or status["ejected"]:
        node_door(node, "clear", *WHO)
    if good in [mark["release"] for mark in status["bad"]]:
        unmark(node, good)
    if status["release"] != good:
        give_good(node, good)
    for mark in read_agent(node)["bad"]:
        unmark(node, mark["release"])
    wait(f"{node} healthy", lambda: healthy(node), seconds=90)


def give_good(node: str, good: str) -> None:
    """The good release active: by a rollback, which is quick, by activating it, or by the node itself."""
    done = node_door(node, "rollback", "--to", good, *WHO)
    if done.returncode != 0:
        done = node_door(node, "release", "activate", good, *WHO, "--wait", "80")
    what = f"{node}: the good release, or {(done.stdout + done.stderr).strip()}"
    wait(what, lambda: read_agent(node)["release"] == good, seconds=90)


def unmark(node: str, release: str) -> None:
    """Takes a bad mark away, if there is one."""
    node_door(node, "release", "unmark-bad", release, *WHO)


def is_up(address: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{address}:9410/v1/status", timeout=1).close()
    except OSError:
        return False
    return True


def find_trouble() -> str:
    """What is not as tests want to find it, "" when all is: five servers answer, three serve the good release."""
    if silent := [name for name, address in ADDRESSES.items() if not is_up(address)]:
        return f"no agent answers on {', '.join(silent)}"
    try:
        out = [name for name, node in balancer().items() if not node["in"]]
    except (OSError, ValueError) as error:
        return f"the balancer does not say: {error}"
    if out := out or [node for node in GPUS if not healthy(node)]:
        return f"no traffic for {', '.join(out)}"
    good = get_good()
    return "; ".join(f"{node}: {left}" for node in GPUS if (left := find_left(find_status(node), good=good)))


def find_left(status: dict[str, Any] | None, *, good: str) -> str:
    """What is left of a test in what a node's agent says, "" when nothing is."""
    if status is None:
        return "its agent does not answer"
    keys = ("move", "halted", "bad", "ejected", "drained", "strikes", "last_rollback_at")
    left = [f"{key} {status[key]}" for key in keys if status[key]]
    return ", ".join(left if status["release"] == good else [f"{status['release']} serves, not {good}", *left])


def edit_state(node: str, expression: str) -> None:
    """What cannot be waited for: writes a state into the node's journal, as the store itself would.

    expression: Python, of `state` (core.node.NodeState) with `replace` and `now`.
    """
    code = f"""
import time
from dataclasses import replace
from pathlib import Path
from dsops.core.node import *
from dsops.node.store.disk import Disk
from dsops.node.store.journal import Journal, Record, read_state
root, now = Path("/var/lib/dsops"), time.time()
state, seq = read_state(root)
state = {expression}
Journal(root, Disk()).append(Record(seq + 1, now, "edited", "", "a live test wrote this", "live test", state))
"""
    done = ssh(node, "/opt/dsops/venv/bin/python -", stdin=code)
    assert done.returncode == 0, done.stderr


def forget_restarts(*nodes: str) -> None:
    """Makes the agents forget that they restarted something within the hour, in an earlier test or run."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        told = list(pool.map(lambda node: ssh(node, "/opt/dsops/venv/bin/python -", stdin=FORGET).stdout, nodes))
    if any(told):
        for node in nodes:
            wait(f"{node}: agent up", lambda node=node: find_status(node) is not None)
        time.sleep(HOLD_SECONDS)


def end_bake(node: str, *, seconds: float = 30) -> None:
    """As if the active release had been on trial for long enough; the slot that was kept warm stops."""
    edit_state(node, "replace(state, active=replace(state.active, since=now - 7200))")
    wait(f"{node}: baked", lambda: is_baked(find_status(node)), seconds=seconds)


def is_baked(status: dict[str, Any] | None) -> bool:
    return status is not None and status["release_state"] in ("active", "known_good") and not status["move"]


def _answers(node: str) -> bool:
    try:
        urllib.request.urlopen(f"http://{ADDRESSES[node]}:9411/metrics", timeout=1).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Service:
    """How a user reaches the lab's service."""

    key: str
    context: ssl.SSLContext

    def client(self, *, key: str | None = None) -> openai.OpenAI:
        """The official client, unchanged: base URL, key and the site's CA are all that it gets."""
        http = httpx.Client(verify=self.context, timeout=60)
        return openai.OpenAI(base_url=f"{ENDPOINT}/v1", api_key=key or self.key, http_client=http, max_retries=0)

    def async_client(self, *, limit: int = 64) -> openai.AsyncOpenAI:
        """The same, asynchronous. limit: connections at once."""
        http = httpx.AsyncClient(verify=self.context, timeout=60, limits=httpx.Limits(max_connections=limit))
        return openai.AsyncOpenAI(base_url=f"{ENDPOINT}/v1", api_key=self.key, http_client=http, max_retries=0)
