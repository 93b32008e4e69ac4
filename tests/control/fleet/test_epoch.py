"""Epochs: each number once, on disk before it is told, for each inventory, whoever asks at the same moment."""

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dsops.control.fleet.epoch import find_state_folder, read_epoch, take_epoch
from dsops.core.errors import DsopsError

SITE, OTHER = Path("inventory/site.py"), Path("inventory/other.py")


def test_every_command_gets_the_next_number_under_one_name(tmp_path: Path) -> None:
    taken = [take_epoch(tmp_path / "state", inventory=SITE) for _ in range(3)]
    assert [epoch.number for epoch in taken] == [1, 2, 3]
    assert len({epoch.holder for epoch in taken}) == 1
    assert read_epoch(tmp_path / "state", inventory=SITE) == taken[-1]


def test_inventories_count_apart_and_a_second_control_host_has_another_name(tmp_path: Path) -> None:
    mine = take_epoch(tmp_path / "a", inventory=SITE)
    assert read_epoch(tmp_path / "a", inventory=OTHER).number == 0
    assert take_epoch(tmp_path / "b", inventory=SITE).holder != mine.holder


def test_an_inventory_is_the_same_from_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inventory").mkdir()
    monkeypatch.chdir(tmp_path)
    take_epoch(tmp_path / "state", inventory=SITE)
    monkeypatch.chdir(tmp_path / "inventory")
    assert take_epoch(tmp_path / "state", inventory=Path("site.py")).number == 2


def test_nobody_gets_a_number_twice(tmp_path: Path) -> None:
    taken: list[int] = []

    def take() -> None:
        taken.extend(take_epoch(tmp_path, inventory=SITE).number for _ in range(5))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(1, 31))


def test_a_number_that_was_told_survives_a_kill(tmp_path: Path) -> None:
    code = "import os,sys; from pathlib import Path; from dsops.control.fleet.epoch import take_epoch\n"
    code += "print(take_epoch(Path(sys.argv[1]), inventory=Path('inventory/site.py')).number, flush=True)\n"
    code += "os.kill(os.getpid(), 9)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for number in (1, 2):
        done = subprocess.run([sys.executable, "-c", code, tmp_path], env=env, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (-9, b"%d\n" % number)
    assert take_epoch(tmp_path, inventory=SITE).number == 3


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    take_epoch(tmp_path / "state", inventory=SITE)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_spoilt_file_says_how_to_go_on(tmp_path: Path) -> None:
    take_epoch(tmp_path, inventory=SITE)
    (tmp_path / "epochs.db").write_bytes(b"rotten" * 1000)
    with pytest.raises(DsopsError, match="cannot be read or written") as caught:
        take_epoch(tmp_path, inventory=SITE)
    assert "dsops epoch adopt" in caught.value.mend


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DsopsError, match="cannot be written") as caught:
        take_epoch(tmp_path / "file/state", inventory=SITE)
    assert "DSOPS_STATE" in caught.value.mend


def test_it_is_written_before_it_is_told(tmp_path: Path) -> None:
    take_epoch(tmp_path, inventory=SITE)
    with sqlite3.connect(tmp_path / "epochs.db") as database:
        assert database.execute("SELECT number FROM epoch").fetchall() == [(1,)]


def test_root_keeps_it_for_the_machine_and_others_for_themselves() -> None:
    assert find_state_folder({"HOME": "/root"}, is_root=True) == Path("/var/lib/dsops-control")
    assert find_state_folder({"HOME": "/home/x"}, is_root=False) == Path("/home/x/.local/state/dsops")
    there = {"HOME": "/home/x", "XDG_STATE_HOME": "/s"}
    assert find_state_folder(there, is_root=False) == Path("/s/dsops")
