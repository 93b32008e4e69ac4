"""The ring of records: what is written is read, what is torn costs itself alone."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.core.state import Active, Epoch, NodeState, Stage
from dsops.node.store.disk import Disk
from dsops.node.store.journal import (
    RECORDS,
    SIZE,
    Journal,
    Record,
    journal_path,
    read_history,
    read_state,
    render_record,
    scan_journal,
)

from tests.node.store.bed import FailingDisk, make_root

A = "r0123456789ab"


def make_record(seq: int, **more: object) -> Record:
    record = Record(seq, 1_700_000_000.5 + seq, "activate", A, "why", "kim", NodeState(epoch=Epoch(seq, "east")))
    return replace(record, **more)  # type: ignore[arg-type]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def write(root: Path, count: int, *, first: int = 1) -> Journal:
    journal = Journal(root, Disk())
    journal.load()
    for seq in range(first, first + count):
        assert journal.append(make_record(seq)).seq == seq
    return journal


def test_an_empty_store_has_the_empty_state(root: Path) -> None:
    assert read_state(root) == (NodeState(), 0)
    assert read_history(journal_path(root)) == []


def test_the_newest_record_is_the_state(root: Path) -> None:
    write(root, 3)
    state, seq = read_state(root)
    assert (state.epoch.number, seq) == (3, 3)
    assert read_history(journal_path(root)) == [make_record(1), make_record(2), make_record(3)]


def test_the_ring_keeps_the_last_records_without_a_gap(root: Path) -> None:
    write(root, RECORDS + 10)
    seqs = [record.seq for record in read_history(journal_path(root))]
    assert seqs == list(range(11, RECORDS + 11))
    assert journal_path(root).stat().st_size == RECORDS * SIZE


def test_all_may_read_it_and_its_blocks_are_there_from_the_start(root: Path) -> None:
    write(root, 1)
    seen = journal_path(root).stat()
    assert seen.st_mode & 0o777 == 0o644
    assert seen.st_blocks * 512 >= RECORDS * SIZE
    write(root, 200, first=2)
    assert journal_path(root).stat().st_blocks == seen.st_blocks


@pytest.mark.parametrize("cut", [0, 1, 100, 511, 512, 4096, 16000])
def test_a_record_that_was_cut_costs_itself_alone(root: Path, cut: int) -> None:
    write(root, 3)
    with journal_path(root).open("r+b") as file:
        file.seek(3 * SIZE + cut)
        file.write(os.urandom(SIZE - cut))
    scan = scan_journal(journal_path(root))
    assert [record.seq for record in scan.records] == [1, 2]
    assert len(scan.spoiled) == 1
    assert "journal record 3" in scan.spoiled[0]


def test_every_flipped_bit_of_a_record_is_noticed(root: Path) -> None:
    raw = bytearray(render_record(make_record(1)))
    for place in range(0, len(raw.rstrip(b"\0")), 7):
        spoilt = bytearray(raw)
        spoilt[place] ^= 4
        journal_path(root).write_bytes(bytes(SIZE) + bytes(spoilt) + bytes((RECORDS - 2) * SIZE))
        assert read_state(root) == (NodeState(), 0), place


def test_a_record_in_a_foreign_place_does_not_count(root: Path) -> None:
    journal_path(root).write_bytes(render_record(make_record(1)) + bytes((RECORDS - 1) * SIZE))
    assert scan_journal(journal_path(root)).records == ()


def test_a_journal_of_another_size_is_kept_aside_and_what_it_says_counts(root: Path) -> None:
    write(root, 5)
    os.truncate(journal_path(root), 4 * SIZE)
    scan = Journal(root, Disk()).load()
    assert [record.seq for record in scan.records] == [1, 2, 3]
    assert "kept as journal.spoiled-0" in scan.spoiled[-1]
    assert journal_path(root).stat().st_size == RECORDS * SIZE
    assert read_state(root)[1] == 3
    assert (root / "state/journal.spoiled-0").stat().st_size == 4 * SIZE


def test_a_journal_without_a_good_record_is_kept_aside(root: Path) -> None:
    journal_path(root).write_bytes(b"x" * RECORDS * SIZE)
    scan = Journal(root, Disk()).load()
    assert scan.records == ()
    assert len(scan.spoiled) == RECORDS + 1
    assert Journal(root, Disk()).load().spoiled == ()


def test_what_a_newer_dsops_knew_more_is_left_out(root: Path) -> None:
    write(root, 1)
    data = json.loads(render_record(make_record(2)).rstrip(b"\0"))
    del data["sum"]
    data["state"]["from_the_future"] = [1, 2]
    from dsops.node.store.journal import _sum

    line = json.dumps(data | {"sum": _sum(data)}).encode()
    with journal_path(root).open("r+b") as file:
        file.seek(2 * SIZE)
        file.write(line.ljust(SIZE, b"\0"))
    assert read_state(root) == (make_record(2).state, 2)


@pytest.mark.parametrize("failing", ["write", "fdatasync"])
def test_a_place_that_cannot_be_written_is_passed_over(root: Path, failing: str) -> None:
    write(root, 2)
    journal = Journal(root, FailingDisk(1, only=(failing,)))
    assert journal.append(make_record(3)).seq == 4
    assert [record.seq for record in read_history(journal_path(root))] == [1, 2, 4]


def test_when_nothing_can_be_written_nothing_counts(root: Path) -> None:
    write(root, 2)
    with pytest.raises(DsopsError, match="the disk refuses"):
        Journal(root, FailingDisk(1, stays=True, only=("fdatasync",))).append(make_record(3))
    assert read_state(root)[1] == 2


def test_whoever_may_not_read_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/journal").mkdir()
    with pytest.raises(DsopsError, match="cannot be read"):
        scan_journal(journal_path(tmp_path))


def test_a_record_keeps_what_a_state_holds(root: Path) -> None:
    state = NodeState(active=Active(A, "a", 1.25, Stage.BAKED), rollbacks=(1.5, 2.0), halted="füll 💥")
    Journal(root, Disk()).load()
    Journal(root, Disk()).append(make_record(1, state=state))
    assert read_state(root) == (state, 1)


def test_places_that_the_disk_does_not_give_back_cost_only_themselves() -> None:
    # Reading there is an EIO on every Linux.
    scan = scan_journal(Path("/proc/self/mem"))
    assert scan.records == ()
    assert len(scan.spoiled) == RECORDS


def test_a_journal_whose_making_was_cut_is_made_again_and_keeps_its_records(root: Path) -> None:
    write(root, 3)
    (root / "state/journal.new").hardlink_to(journal_path(root))  # its name may not last yet
    before = journal_path(root).stat().st_ino
    scan = Journal(root, Disk()).load()
    assert [record.seq for record in scan.records] == [3]
    assert journal_path(root).stat().st_ino != before
    assert [record.seq for record in read_history(journal_path(root))] == [1, 2, 3]
    assert sorted(path.name for path in (root / "state").iterdir() if "journal" in path.name) == ["journal"]


def test_on_a_full_disk_a_journal_whose_making_was_cut_serves_as_it_is(root: Path) -> None:
    write(root, 3)
    (root / "state/journal.new").hardlink_to(journal_path(root))
    scan = Journal(root, FailingDisk(1, code=errno.ENOSPC, stays=True)).load()
    assert [record.seq for record in scan.records] == [3]
    assert [record.seq for record in read_history(journal_path(root))] == [1, 2, 3]
