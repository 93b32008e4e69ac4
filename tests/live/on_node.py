"""Runs on a lab server, read by its Python from stdin: kills a part of dsops in the middle of a move.

on_node.py UNIT AFTER WORDS...: `dsops node WORDS` is begun, and SIGKILL hits UNIT's process right after the journal
got AFTER more records (0: with the command itself). Prints what came of it as one JSON object.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

from dsops.node.store.journal import journal_path, read_history, read_state

ROOT = Path("/var/lib/dsops")
DSOPS = "/opt/dsops/venv/bin/dsops"
SETTLE_SECONDS = 90


def find_pid(unit: str) -> int:
    said = subprocess.run(["systemctl", "show", "--property=MainPID", "--value", unit], capture_output=True, text=True)
    return int(said.stdout.strip() or 0)


def wait_records(seq: int, *, seconds: float) -> bool:
    """Whether the journal came to number `seq`; looks every half millisecond."""
    until, before = time.monotonic() + seconds, -1
    while time.monotonic() < until:
        now = journal_path(ROOT).stat().st_mtime_ns
        if now != before and read_state(ROOT)[1] >= seq:
            return True
        before = now
        time.sleep(0.0005)
    return False


def wait_settled() -> bool:
    """Whether no move is under way any more, and stays so."""
    until, quiet = time.monotonic() + SETTLE_SECONDS, 0
    while quiet < 4 and time.monotonic() < until:
        quiet = 0 if read_state(ROOT)[0].move else quiet + 1
        time.sleep(0.1)
    return quiet >= 4


def find_damage() -> list[str]:
    """Whatever is not as a node must be: links, files of the active release, numbers of the journal."""
    active = read_state(ROOT)[0].active
    if active is None:
        return ["nothing is active"]
    seqs = [record.seq for record in read_history(journal_path(ROOT))]
    gaps = [f"journal: {later} comes after {one}" for one, later in pairwise(seqs) if later != one + 1]
    return [*find_wrong_links(active.slot, active.release), *find_spoilt_files(active.release), *gaps]


def find_wrong_links(slot: str, release: str) -> list[str]:
    wanted = {ROOT / "slots" / slot: f"../releases/{release}"}
    wanted |= dict.fromkeys((ROOT / "lanes").iterdir(), f"../slots/{slot}")
    return [f"{link} leads to {link.readlink()}" for link, target in wanted.items() if str(link.readlink()) != target]


def find_spoilt_files(release: str) -> list[str]:
    folder = ROOT / "releases" / release
    files = json.loads((folder / "release.json").read_bytes())["files"]
    return [name for name, one in files.items() if sha256((folder / name).read_bytes()).hexdigest() != one["sha256"]]


def main() -> None:
    unit, after, words = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    subprocess.run([DSOPS, "node", "release", "list", "--json"], capture_output=True)  # so that the helper runs
    pid, (_, seq) = find_pid(unit), read_state(ROOT)
    door = subprocess.Popen([DSOPS, "node", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    reached = wait_records(seq + after, seconds=40)
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    move = read_state(ROOT)[0].move
    try:
        said = door.communicate(timeout=SETTLE_SECONDS)[0]
    except subprocess.TimeoutExpired:
        door.kill()
        said = "the door hung"
    settled = wait_settled()
    state, last = read_state(ROOT)
    told = {
        "killed": bool(pid),
        "reached": reached,
        "step": f"{move.kind} {move.step}" if move else "",
        "door": door.returncode,
        "said": said.strip(),
        "settled": settled,
        "release": state.active.release if state.active else "",
        "records": last - seq,
        "damage": find_damage(),
    }
    print(json.dumps(told))


main()
