"""The store's state is read from its journal, again only when it changed, and never with an exception."""

import os
from pathlib import Path

from dsops.core.state import Active, NodeState, Stage
from dsops.node.sources.files import FilesReader
from dsops.node.sources.store import StoreReader
from dsops.node.store.disk import Disk
from dsops.node.store.journal import Journal, Record, journal_path

from tests.node.agent.releases import make_release


def write(root: Path, seq: int, release: str) -> None:
    (root / "state").mkdir(exist_ok=True)
    journal = Journal(root, Disk())
    journal.load()
    state = NodeState(active=Active(release, "a", 1.0, Stage.BAKING))
    journal.append(Record(seq, float(seq), "activate", release, "says", "ann", state))


def test_a_node_without_a_store_has_an_empty_one(tmp_path: Path) -> None:
    reading = StoreReader(tmp_path).read()
    assert (reading.state, reading.seq, reading.reason) == (NodeState(), 0, "")


def test_each_change_is_seen_also_within_one_tick_of_the_disks_clock(tmp_path: Path) -> None:
    reader = StoreReader(tmp_path)
    for seq in range(1, 20):
        write(tmp_path, seq, f"r{seq}")
        reading = reader.read()
        assert reading.state is not None
        assert reading.state.active is not None
        assert (reading.seq, reading.state.active.release) == (seq, f"r{seq}")


def test_a_journal_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    write(tmp_path, 1, "r1")
    os.utime(journal_path(tmp_path), (1.0, 1.0))
    reader = StoreReader(tmp_path)
    assert reader.read() is reader.read()


def test_a_spoilt_journal_is_nobody_knows(tmp_path: Path) -> None:
    write(tmp_path, 1, "r1")
    path = journal_path(tmp_path)
    path.write_bytes(b"x" * path.stat().st_size)
    reading = StoreReader(tmp_path).read()
    assert reading.state is None
    assert reading.reason.startswith("the store's journal")


def test_all_of_a_nodes_files_are_one_reading(tmp_path: Path) -> None:
    release = make_release(tmp_path)
    for folder in ("slots", "lanes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "slots/a").symlink_to(f"../releases/{release}")
    (tmp_path / "lanes/l50").symlink_to("../slots/a")
    (tmp_path / "passports").mkdir()
    (tmp_path / f"passports/{release}.json").write_text("rubbish")
    reader = FilesReader(root=Path("/"), state=tmp_path, slots=("a", "b"), lane="l50")
    files = reader.read()
    assert [len(papers.damage) for papers in files.passports.values()] == [1]
    assert (files.stable_slot, files.slot_releases) == ("a", {"a": release, "b": ""})
    assert files.golden is not None
    assert len(files.golden.prompts) == 3
    assert reader.otherwise("the disk hangs").reason == "the disk hangs"
    assert reader.otherwise("the disk hangs").slot_releases == files.slot_releases


def test_a_release_without_golden_prompts_is_said(tmp_path: Path) -> None:
    release = make_release(tmp_path)
    (tmp_path / "releases" / release / "prompts.json").unlink()
    for folder in ("slots", "lanes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "slots/a").symlink_to(f"../releases/{release}")
    (tmp_path / "lanes/l50").symlink_to("../slots/a")
    files = FilesReader(root=Path("/"), state=tmp_path, slots=("a",), lane="l50").read()
    assert files.golden is None
    assert "prompts.json: cannot be read" in files.golden_reason


def test_the_golden_prompts_of_both_slots_are_read_and_one_that_cannot_be_hides_no_other(tmp_path: Path) -> None:
    active, canary = make_release(tmp_path), make_release(tmp_path, load_seconds=2)
    for folder in ("slots", "lanes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "slots/a").symlink_to(f"../releases/{active}")
    (tmp_path / "slots/b").symlink_to(f"../releases/{canary}")
    (tmp_path / "lanes/l50").symlink_to("../slots/a")
    prompts = tmp_path / "releases" / canary / "prompts.json"
    content = prompts.read_bytes()
    prompts.unlink()
    reader = FilesReader(root=Path("/"), state=tmp_path, slots=("a", "b"), lane="l50")
    files = reader.read()
    assert (set(files.goldens), files.golden_reason) == ({active}, "")
    prompts.write_bytes(content)
    assert set(reader.read().goldens) == {active, canary}
    (tmp_path / "slots/b").unlink()
    assert set(reader.read().goldens) == {active}
