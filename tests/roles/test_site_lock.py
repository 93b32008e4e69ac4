"""The lock: one deploy at a time on a control host, and whoever comes second learns who is first."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError

from roles.ops.site import take_lock

HOLD = """
import sys
from pathlib import Path
from roles.ops.site import take_lock
held = take_lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DsopsError, match=rf"another deploy is running \(user \w+, pid {holder.pid}, since 2"):
            take_lock(path)
        holder.kill()
    with take_lock(path) as stream:  # a killed holder leaves nothing to clean up
        stream.seek(0)
        assert f"pid {os.getpid()}," in stream.read()


def test_a_holder_that_has_not_written_its_name_yet_is_still_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(DsopsError, match="just started"):
            take_lock(path)


def test_a_lock_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="the lock cannot be opened") as caught:
        take_lock(tmp_path / "nowhere/lock")
    assert "as root" in caught.value.mend


def test_every_user_may_take_a_lock_that_is_free(tmp_path: Path) -> None:
    take_lock(tmp_path / "lock").close()
    assert (tmp_path / "lock").stat().st_mode & 0o666 == 0o666
