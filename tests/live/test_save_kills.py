"""kill -9 of the agent and of the helper in the middle of a move: the node serves a whole release, history is whole."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.live.moves import Shelf, bring, push
from tests.live.site import Service, get_good, healthy, read_agent, restore_node, ssh, wait
from tests.live.watch import read_history

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]
NODE = "gpu3"
SCRIPT = Path(__file__).with_name("on_node.py").read_text()
WHO = ("--who", "live test", "--reason", "kill")
READ_SEQS = """
from pathlib import Path
from dsops.node.store.journal import journal_path, read_history
print(*(record.seq for record in read_history(journal_path(Path("/var/lib/dsops")))))
"""
UNITS = ("dsops-helper", "dsops-agent")
# Records that an activation, and a rollback, write at most.
ACTIVATE_RECORDS, ROLLBACK_RECORDS = 5, 3


def kill_in(unit: str, *words: str, after: int) -> dict[str, Any]:
    """What came of a move in which the unit was killed."""
    line = shlex.join(["/opt/dsops/venv/bin/python", "-", unit, str(after), *words])
    done = ssh(NODE, line, stdin=SCRIPT, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def check(said: dict[str, Any], *, releases: set[str]) -> None:
    """The promise: a complete release serves, the history has no hole."""
    print({key: value for key, value in said.items() if key != "said"}, "|", said["said"][-160:])
    assert said["settled"], said
    assert not said["damage"], said
    assert said["release"] in releases, said
    wait("it serves", lambda: healthy(NODE), seconds=60)
    wait("the agent answers", lambda: is_current(said["release"]), seconds=60)
    wait("its history is whole", lambda: not find_gaps(), seconds=10)


def is_current(release: str) -> bool:
    try:
        return str(read_agent(NODE)["release"]) == release
    except OSError:
        return False


def find_gaps() -> list[int]:
    """Numbers of the journal that the agent's history lacks."""
    done = ssh(NODE, "/opt/dsops/venv/bin/python -", stdin=READ_SEQS)
    assert done.returncode == 0, done.stderr
    seqs = set(map(int, done.stdout.split()))
    return sorted(seqs - {entry.get("seq") for entry in read_history(NODE, limit=1000)})


def kill_through(shelf: Shelf, units: tuple[str, ...], *, activate: range, rollback: range) -> None:
    """Kills each unit at each of these steps of an activation, and of the rollback of it."""
    calm, good = shelf["calm"].name, get_good()
    assert push(shelf["calm"], NODE).returncode == 0
    for unit in units:
        for after in activate:
            restore_node(NODE)
            said = kill_in(unit, "release", "activate", calm, *WHO, "--wait", "60", after=after)
            check(said, releases={calm, good})
        for after in rollback:
            restore_node(NODE)
            bring(shelf["calm"], NODE)
            check(kill_in(unit, "rollback", *WHO, after=after), releases={calm, good})


def test_killed_in_the_middle_of_a_move_it_goes_on(fleet: Service, shelf: Shelf) -> None:
    kill_through(shelf, ("dsops-helper",), activate=range(1, 2), rollback=range(1, 2))
    kill_through(shelf, ("dsops-agent",), activate=range(2, 3), rollback=range(0))


@pytest.mark.thorough
@pytest.mark.parametrize("unit", UNITS)
def test_killed_at_every_step_of_a_move_it_goes_on(fleet: Service, shelf: Shelf, unit: str) -> None:
    kill_through(shelf, (unit,), activate=range(ACTIVATE_RECORDS), rollback=range(ROLLBACK_RECORDS))
