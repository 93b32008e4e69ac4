"""Runs on a lab server, read by its Python from stdin: moves a release there and back, in one of two ways.

on_node.py flips RELEASE    by dsops: in as a canary, its share goes up to 100 %, a rollback leads back
on_node.py reload SECONDS   by Triton's own reload of the model in the slot that serves, and again after so many seconds

Prints what came of it as one JSON object. The verbs of `dsops node` run in this one process: an interpreter's start
for each of them would weigh more, on a machine that runs all of the lab, than what is measured.
"""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from dsops.core.errors import DsopsError
from dsops.node.cli import node
from dsops.node.store.journal import read_state

ROOT = Path("/var/lib/dsops")
SHARES = (5, 25, 50, 100)
WHO = ("--who", "bench", "--reason", "swaps")
PORTS = {"a": 8100, "b": 8200}
STOP_SECONDS = 60


def ask(*words: str) -> dict[str, Any]:
    """What the door answers. Raises DsopsError with its refusal."""
    done = CliRunner().invoke(node, [*words, *WHO, "--json"])
    if done.exception:
        raise DsopsError(f"{' '.join(words[:2])}: {done.exception} {done.output[-200:]}".strip())
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def flip(release: str) -> dict[str, Any]:
    """starts: slots started; warm: flips between two slots that ran; seconds: of the flips that lead all back."""
    good = get_active()
    told: dict[str, Any] = {"starts": 0, "warm": 0, "seconds": [], "trouble": []}
    try:
        ask("release", "activate", release, "--share", "1", "--wait", "80")
        told["starts"], told["warm"] = 1, 1
        for share in SHARES:
            ask("release", "widen", release, "--share", str(share), "--wait", "30")
            told["warm"] += 1
        told["seconds"].append(ask("rollback", "--to", good.release)["seconds"])
        told["warm"] += 1
    except DsopsError as error:
        told["trouble"].append(str(error))
        with suppress(DsopsError):
            ask("rollback")  # a canary that is out goes back
    with suppress(DsopsError):
        ask("release", "unmark-bad", release)
    wait_stopped("b" if good.slot == "a" else "a", told["trouble"])
    return told


def get_active() -> Any:
    active = read_state(ROOT)[0].active
    if active is None:
        raise DsopsError("nothing is active here")
    return active


def wait_stopped(slot: str, trouble: list[str]) -> None:
    """Its end costs too, and belongs to these flips."""
    until = time.monotonic() + STOP_SECONDS
    argv = ["systemctl", "is-active", f"triton@{slot}.service"]
    while (now := subprocess.run(argv, capture_output=True, text=True).stdout.strip()) not in ("inactive", "failed"):
        if time.monotonic() > until:
            trouble.append(f"slot {slot} is {now} after {STOP_SECONDS} s")
            return
        time.sleep(0.2)


def reload(pause: float) -> dict[str, Any]:
    """seconds: how long each of the two loads took."""
    told: dict[str, Any] = {"seconds": [], "trouble": []}
    url = f"http://127.0.0.1:{PORTS[get_active().slot]}/v2"
    for number in (1, 2):
        began = time.monotonic()
        try:
            load_changed(url)
            told["seconds"].append(round(time.monotonic() - began, 3))
        except OSError as error:
            said = error.read().decode() if isinstance(error, urllib.error.HTTPError) else ""
            told["trouble"].append(f"reload: {error} {said}".strip())
        time.sleep(max(0.0, pause - (time.monotonic() - began)) if number == 1 else 0.0)
    return told


def load_changed(url: str) -> None:
    """Triton loads a model again only when something changed: one more parameter, which no engine reads."""
    with urllib.request.urlopen(f"{url}/models/llm/config", timeout=30) as answer:
        config = json.load(answer)
    config["parameters"]["swap"] = {"string_value": str(time.time_ns())}
    body = json.dumps({"parameters": {"config": json.dumps(config)}}).encode()
    request = urllib.request.Request(f"{url}/repository/models/llm/load", data=body, method="POST")
    urllib.request.urlopen(request, timeout=60).close()


def main() -> None:
    what, word = sys.argv[1:]
    print(json.dumps(flip(word) if what == "flips" else reload(float(word))))


main()
