"""The lock of a rollout: one holder, known by name, free the moment it is dead, and broken by a person only."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsops.control.fleet.epoch import hold_file
from dsops.control.rollout.lock import break_lock, find_holders, find_lock, hold_rollout, read_holder
from dsops.core.errors import DsopsError

SITE = Path("inventory/site.py")
HOLD = """
import sys, time
from pathlib import Path
from dsops.control.rollout.lock import hold_rollout
with hold_rollout(Path(sys.argv[1]), Path("inventory/site.py"), who="kim", what="rollout 1"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds it."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    argv = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_controller_is_refused_and_told_who_holds_it(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(DsopsError) as caught, hold_rollout(tmp_path, SITE, who="me", what="x"):
        pass
    assert f"a rollout is being run by process {other.pid} of kim on " in caught.value.what
    assert "dsops lock ls" in caught.value.mend


def test_a_stopped_holder_still_holds_it_and_is_said_to_be_stopped(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    other.send_signal(signal.SIGSTOP)
    with pytest.raises(DsopsError, match="which is stopped"), hold_rollout(tmp_path, SITE, who="me", what="x"):
        pass
    other.send_signal(signal.SIGCONT)


def test_it_is_free_the_moment_its_holder_is_killed(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    holder = read_holder(find_lock(tmp_path, SITE))
    assert holder
    assert (holder.held, holder.pid, holder.who, holder.what) == (True, other.pid, "kim", "rollout 1")
    other.kill()
    other.wait()
    left = read_holder(find_lock(tmp_path, SITE))
    assert left
    assert not left.held
    with hold_rollout(tmp_path, SITE, who="me", what="rollout 2"):
        ((_, held),) = find_holders(tmp_path)
        assert (held.held, held.who) == (True, "me")


def test_a_broken_lock_is_the_next_ones_while_the_old_holder_lives_on(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    break_lock(find_lock(tmp_path, SITE))
    with hold_rollout(tmp_path, SITE, who="me", what="x"):
        assert other.poll() is None


def test_looking_at_it_never_keeps_anybody_out(tmp_path: Path) -> None:
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        with hold_rollout(tmp_path, SITE, who="me", what="x") as path:
            assert read_holder(path)


def test_inventories_are_locked_apart(tmp_path: Path) -> None:
    with hold_rollout(tmp_path, SITE, who="me", what="x"), hold_rollout(tmp_path, Path("b.py"), who="me", what="y"):
        assert len(find_holders(tmp_path)) == 2


def test_a_process_that_was_stopped_with_the_epochs_in_its_hand_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "epochs.lock"
    with (
        hold_file(lock, wait=0),
        pytest.raises(DsopsError, match=f"process {os.getpid()} has held this") as caught,
        hold_file(lock, wait=0.05),
    ):
        pass
    assert f"`kill -9 {os.getpid()}`" in caught.value.mend
