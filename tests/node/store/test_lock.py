"""One writer at a time (R18)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.node.store.lock import BOOT_ID, hold_lock

from tests.node.store.bed import make_root

HOLDS = """
import sys, time
from pathlib import Path
from dsops.node.store.lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_the_first_is_and_since_which_boot(tmp_path: Path) -> None:
    root = make_root(tmp_path / "store")
    with hold_lock(root), pytest.raises(DsopsError) as caught, hold_lock(root, seconds=0.01):
        pass
    assert f"pid {os.getpid()}" in str(caught.value)
    assert BOOT_ID.read_text().strip() in str(caught.value)
    with hold_lock(root, seconds=0.01):
        pass


def test_who_is_killed_with_the_lock_blocks_nobody(tmp_path: Path) -> None:
    root = make_root(tmp_path / "store")
    words = [sys.executable, "-c", HOLDS, str(root)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "agent")}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DsopsError, match=f"pid {holder.pid}"), hold_lock(root, seconds=0.01):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        with hold_lock(root, seconds=5):
            pass
