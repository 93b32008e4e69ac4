"""How live tests reach the lab: its command, its servers, its service, and a way back after they broke something."""

import json
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai

ROOT = Path(__file__).parents[2]
LAB = Path("/var/lib/dsops-lab")
SECRETS = LAB / "secrets"
INVENTORY = ROOT / "inventory/lab.py"
ENDPOINT = "https://10.99.0.10"
NUMBERS = {"lb1": 10, "gpu1": 11, "gpu2": 12, "gpu3": 13, "mon1": 20}
ADDRESSES = {name: f"10.99.0.{number}" for name, number in NUMBERS.items()}


def dsops(*words: str | Path, timeout: float = 300, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs the command as an operator would."""
    argv = [sys.executable, "-m", "dsops", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, cwd=cwd)


def on(node: str, command: str, *, timeout: float = 60) -> str:
    """Runs a shell command on a lab server as root; its output. Fails the test when the command fails."""
    argv = ["ssh", "-q", "-i", LAB / "ssh/id_ed25519", "-o", f"UserKnownHostsFile={LAB}/ssh/known_hosts"]
    argv += ["-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=5", f"root@{ADDRESSES[node]}", command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
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
    with urllib.request.urlopen(f"http://{ADDRESSES['lb1']}:9412/v1/status", timeout=3) as answer:
        said = json.load(answer)
    return {node["node"]: node for node in said["nodes"]}


def wait(what: str, look: Callable[[], bool], *, seconds: float = 60) -> float:
    """Seconds until `look` was true. Fails the test after `seconds`."""
    since = time.monotonic()
    while not look():
        assert time.monotonic() - since < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - since


def restore() -> None:
    """Every server up, undrained and in the balancer's set, whatever a test did."""
    if is_well():
        return
    done = dsops("lab", "up")
    assert done.returncode == 0, done.stderr
    for node in ("gpu1", "gpu2", "gpu3"):
        wait(f"{node}: gateway up", lambda n=node: _answers(n))
        if '"draining"' in on(node, "/opt/dsops/venv/bin/dsops node status --json 2>/dev/null || true"):
            dsops("undrain", node, "-i", INVENTORY)
        wait(f"{node} healthy", lambda n=node: healthy(n), seconds=90)
    wait("all nodes in", lambda: all(node["in"] for node in balancer().values()))


def is_well() -> bool:
    """Whether all five servers answer and all three nodes take traffic."""
    try:
        for address in ADDRESSES.values():
            urllib.request.urlopen(f"http://{address}:9410/v1/status", timeout=1).close()
        return all(node["in"] for node in balancer().values()) and all(healthy(f"gpu{i}") for i in (1, 2, 3))
    except OSError:
        return False


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

    def async_client(self) -> openai.AsyncOpenAI:
        """The same, asynchronous."""
        http = httpx.AsyncClient(verify=self.context, timeout=60, limits=httpx.Limits(max_connections=64))
        return openai.AsyncOpenAI(base_url=f"{ENDPOINT}/v1", api_key=self.key, http_client=http, max_retries=0)
