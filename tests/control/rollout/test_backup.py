"""Backup and restore of a control host: whole, consistent, refused when damaged, and believed by nodes afterwards."""

import io
import sqlite3
import tarfile
import threading
from pathlib import Path

import pytest
from dsops.control.fleet.epoch import read_epoch, take_epoch
from dsops.control.rollout.backup import RAISE, back_up, find_files, read_backup, restore
from dsops.control.rollout.lock import hold_rollout
from dsops.control.rollout.store import FencedError, Kept, Store
from dsops.core.errors import DsopsError
from dsops.core.events import Take
from dsops.core.node import step
from dsops.core.state import Epoch, NodeState, Policy

SITE = Path("inventory/site.py")


def make_state(folder: Path) -> Kept:
    """A control host with a rollout under way, a halt, and audit heads."""
    store = Store(folder, SITE)
    kept = store.start(lambda *_: "{}", release="r1", who="me", reason="new", at=1.0)
    store.save(kept, '{"step": 2}', at=2.0, fleet='{"halted": "two rollbacks"}')
    (folder / "audit").mkdir()
    (folder / "audit/heads.json").write_text("{}")
    (folder / "rollout-1.log").write_text("words")
    return kept


def test_a_backup_holds_all_but_locks_and_logs(tmp_path: Path) -> None:
    make_state(tmp_path / "state")
    made = back_up(tmp_path / "state", tmp_path / "b.tar.gz", who="me", at=7.0)
    assert [one.path for one in made.files] == ["audit/heads.json", "epochs.db"]
    assert made.epochs == (f"1 {SITE.resolve()}",)
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    assert read_backup(tmp_path / "b.tar.gz")[0] == made


def test_what_was_saved_comes_back_under_a_new_name_with_higher_epochs(tmp_path: Path) -> None:
    old = make_state(tmp_path / "state")
    back_up(tmp_path / "state", tmp_path / "b", who="me", at=7.0)
    said = restore(tmp_path / "new", tmp_path / "b", replace=False, at=8.0)
    store = Store(tmp_path / "new", SITE)
    kept = store.find_active()
    assert kept
    assert (kept.state, store.read_fleet()) == ('{"step": 2}', '{"halted": "two rollbacks"}')
    assert (tmp_path / "new/audit/heads.json").read_text() == "{}"
    last = read_epoch(tmp_path / "new", inventory=SITE)
    assert (last.number, last.holder) == (old.epoch.number + RAISE, said.holder)
    assert last.holder != old.epoch.holder
    assert said.active == (f"rollout 1 of r1 ({SITE.resolve()})",)
    assert "restored from a backup" in store.read_lines(1)[-1].says
    with pytest.raises(FencedError):
        store.save(kept, "x", at=9.0)
    store.take_over(who="me", says="goes on", at=9.0)


@pytest.mark.parametrize("heard", [0, 1, RAISE - 1, RAISE])
def test_nodes_believe_a_restored_control_host_and_no_more_the_old_one(tmp_path: Path, heard: int) -> None:
    """heard: commands of the old one after the backup."""
    old = take_epoch(tmp_path / "state", inventory=SITE)
    back_up(tmp_path / "state", tmp_path / "b", who="me", at=7.0)
    node = NodeState(epoch=Epoch(old.number + heard, old.holder))
    restore(tmp_path / "new", tmp_path / "b", replace=False, at=8.0)
    new = take_epoch(tmp_path / "new", inventory=SITE)
    node, _ = step(node, Take(new), Policy())
    assert node.epoch == new
    with pytest.raises(DsopsError, match="is older than"):
        step(node, Take(Epoch(old.number + heard, old.holder)), Policy())


def test_what_is_there_is_not_overwritten_unless_that_is_wanted(tmp_path: Path) -> None:
    take_epoch(tmp_path / "state", inventory=SITE)
    back_up(tmp_path / "state", tmp_path / "b", who="me", at=7.0)
    for _ in range(RAISE + 10):
        last = take_quickly(tmp_path / "state")
    with pytest.raises(DsopsError, match="there is state already: epochs") as caught:
        restore(tmp_path / "state", tmp_path / "b", replace=False, at=8.0)
    assert "--replace" in caught.value.mend
    restore(tmp_path / "state", tmp_path / "b", replace=True, at=8.0)
    assert read_epoch(tmp_path / "state", inventory=SITE).number == last + 1
    (aside,) = (tmp_path / "state").glob(".before-restore-*")
    assert (aside / "epochs.db").is_file()
    assert find_files(tmp_path / "state") == ["epochs.db"]


def take_quickly(folder: Path) -> int:
    """As `take_epoch` does it, without waiting for the disk."""
    with sqlite3.connect(folder / "epochs.db") as database:
        database.execute("PRAGMA synchronous=OFF")
        database.execute("UPDATE epoch SET number = number + 1")
        return int(database.execute("SELECT number FROM epoch").fetchone()[0])


def test_a_backup_is_consistent_while_others_work(tmp_path: Path) -> None:
    store = Store(tmp_path / "state", SITE)
    kept = [store.start(lambda *_: "0", release="r1", who="me", reason="new", at=1.0)]
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            kept.append(store.save(kept[-1], str(number), at=2.0, fleet=str(number)))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(5):
            back_up(tmp_path / "state", tmp_path / f"b{number}", who="me", at=7.0)
    finally:
        stop.set()
        thread.join()
    for number in range(5):
        restore(tmp_path / f"new{number}", tmp_path / f"b{number}", replace=False, at=8.0)
        back = Store(tmp_path / f"new{number}", SITE)
        found = back.find_active()
        assert found
        assert found.state == (back.read_fleet() or "0")


def test_a_damaged_backup_is_refused_before_anything_changes(tmp_path: Path) -> None:
    make_state(tmp_path / "state")
    back_up(tmp_path / "state", tmp_path / "b", who="me", at=7.0)
    (tmp_path / "cut").write_bytes((tmp_path / "b").read_bytes()[:-200])
    (tmp_path / "no").write_text("no")
    with tarfile.open(tmp_path / "b") as tar, tarfile.open(tmp_path / "other", "w:gz") as out:
        for member in tar:
            data = (tar.extractfile(member) or io.BytesIO()).read()
            data = data[:-1] + b"!" if member.name == "audit/heads.json" else data
            out.addfile(member, io.BytesIO(data))
    for name, says in (("cut", "cannot be read"), ("no", "cannot be read"), ("other", "heads.json in it is not")):
        with pytest.raises(DsopsError, match=says):
            restore(tmp_path / "new", tmp_path / name, replace=True, at=8.0)
    assert not (tmp_path / "new").exists()


def test_a_backup_that_reaches_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "b", "w:gz") as out:
        entry = tarfile.TarInfo("../evil")
        out.addfile(entry, io.BytesIO(b""))
    with pytest.raises(DsopsError, match="which no backup does"):
        restore(tmp_path / "new", tmp_path / "b", replace=True, at=8.0)


def test_a_spoilt_state_is_not_saved_but_can_be_replaced(tmp_path: Path) -> None:
    make_state(tmp_path / "state")
    back_up(tmp_path / "state", tmp_path / "b", who="me", at=7.0)
    (tmp_path / "state/epochs.db").write_bytes(b"rotten" * 1000)
    with pytest.raises(DsopsError, match="it is damaged, so it was not saved"):
        back_up(tmp_path / "state", tmp_path / "b", who="me", at=8.0)
    restore(tmp_path / "state", tmp_path / "b", replace=True, at=9.0)
    assert read_epoch(tmp_path / "state", inventory=SITE).number == 1 + RAISE


def test_nothing_is_restored_under_a_running_rollout(tmp_path: Path) -> None:
    make_state(tmp_path / "state")
    back_up(tmp_path / "state", tmp_path / "b", who="me", at=7.0)
    with (
        hold_rollout(tmp_path / "state", SITE, who="kim", what="x"),
        pytest.raises(DsopsError, match="a rollout is being run by process"),
    ):
        restore(tmp_path / "state", tmp_path / "b", replace=True, at=8.0)


def test_without_any_state_there_is_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="no epoch was ever taken here"):
        back_up(tmp_path, tmp_path / "b", who="me", at=7.0)
