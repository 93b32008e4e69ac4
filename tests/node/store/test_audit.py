"""The audit on a node: no disk can stop, delay or spoil it for good, and nothing that the journal holds is lost."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dsops.core.audit import Act, Entry, Head, Kind, parse_line, render_report
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch, NodeState
from dsops.core.status import Blame
from dsops.node.store.audit import (
    Reach,
    ReachReader,
    audit_folder,
    check_audit,
    find_files,
    find_lag,
    read_head,
    read_lines,
    read_reach,
    read_tail,
    verify_chain,
)
from dsops.node.store.disk import Disk
from dsops.node.store.journal import RECORDS, Journal, Record, read_history
from dsops.node.store.ledger import Ledger, Limits

from tests.node.store.bed import FailingDisk, make_root

AT = 1_700_000_000.0
QUICK = Limits(retry_seconds=0.01)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "store")


@contextmanager
def writing(root: Path, disk: Disk | None = None, **words: Any) -> Iterator[Ledger]:
    words.setdefault("limits", QUICK)
    ledger = Ledger(root, disk or Disk(), node="gpu1", now=lambda: AT, **words)
    try:
        yield ledger
    finally:
        ledger.close(0.2)


def journal(root: Path, *seqs: int, at: float = AT) -> list[Record]:
    writer = Journal(root, Disk())
    writer.load()
    state = NodeState(epoch=Epoch(3, "control"))
    return [
        writer.append(Record(seq, at + seq, "activate", "r" + "1" * 12, f"goes in: {seq}", "kim", state))
        for seq in seqs
    ]


def step(seq: int) -> Act:
    return Act(AT + seq, Kind.STEP, "activate", "kim", "new", "gpu1", seq=seq)


def refusal(number: int = 0) -> Act:
    return Act(AT + number, Kind.REFUSED, "activate", "kim", "new", "gpu1", evidence=f"no {number}")


def read(root: Path) -> list[Entry]:
    return [parse_line(line.data) for line in read_lines(root)]


def verbs(root: Path) -> list[str]:
    return [f"{entry.act.kind} {entry.act.verb} {entry.act.seq or ''}".strip() for entry in read(root)]


def test_what_is_told_is_written_in_order_behind_the_teller(root: Path) -> None:
    with writing(root) as ledger:
        for number in range(200):
            ledger.add(refusal(number))
        assert ledger.flush()
        assert not ledger.trouble
    assert [entry.act.evidence for entry in read(root)[1:]] == [f"no {number}" for number in range(200)]
    assert verify_chain(root).is_whole
    assert verify_chain(root).head == read_head(root) == read(root)[-1].head
    (file,) = find_files(audit_folder(root))
    assert (file.name, file.stat().st_mode & 0o777) == ("000000000001.jsonl", 0o644)


def test_the_next_process_goes_on_where_the_last_one_ended(root: Path) -> None:
    for number in range(5):
        with writing(root) as ledger:
            ledger.add(refusal(number))
    assert [entry.number for entry in read(root)] == [1, 2, 3, 4, 5, 6]
    assert verify_chain(root).is_whole


def test_two_writers_at_once_make_one_chain(root: Path) -> None:
    with writing(root) as one, writing(root) as two:
        for number in range(100):
            one.add(refusal(number))
            two.add(refusal(number))
            if number % 10 == 0:
                time.sleep(0.001)
        assert one.flush()
        assert two.flush()
    report = verify_chain(root)
    assert (report.is_whole, report.entries) == (True, 201), render_report(report)


def test_a_kill_between_journal_and_audit_loses_nothing(root: Path) -> None:
    with writing(root) as ledger:
        ledger.begin()
        ledger.flush()
        journal(root, 1, 2)
        ledger.add(step(1))
        ledger.add(step(2))
    journal(root, 3, 4, 5)  # killed before it told them
    with writing(root) as ledger:
        ledger.begin()
        ledger.flush()
        journal(root, 6)
        ledger.add(step(6))
    assert verbs(root) == [
        "chain begin",
        *(f"step activate {seq}" for seq in (1, 2)),
        *(f"late activate {seq}" for seq in (3, 4, 5)),
        "step activate 6",
    ]
    late = read(root)[3].act
    assert (late.who, late.evidence, late.epoch, late.at) == ("kim", "goes in: 3", Epoch(3, "control"), AT + 3)


def test_a_node_that_had_no_audit_gets_what_its_journal_still_holds(root: Path) -> None:
    journal(root, *range(1, RECORDS + 41))
    with writing(root) as ledger:
        ledger.begin()
        assert ledger.flush()
    assert [entry.act.seq for entry in read(root)] == [0, *range(41, RECORDS + 41)]
    with writing(root) as ledger:
        ledger.begin()
        assert ledger.flush()
    assert len(read(root)) == RECORDS + 1, "it is told once"


def test_a_journal_that_was_begun_anew_is_told_though_its_numbers_were_there(root: Path) -> None:
    journal(root, 1, 2)
    with writing(root) as ledger:
        ledger.begin()
        ledger.flush()
    (root / "state/journal").unlink()
    journal(root, 1, 2, at=AT + 1000)
    with writing(root) as ledger:
        ledger.begin()
        ledger.flush()
    assert [entry.act.seq for entry in read(root)] == [0, 1, 2, 1, 2]
    assert verify_chain(root).is_whole


def test_a_line_torn_at_any_byte_is_repaired_and_the_chain_says_so(root: Path) -> None:
    with writing(root) as ledger:
        ledger.add(refusal(1))
        ledger.add(refusal(2))
    (file,) = find_files(audit_folder(root))
    whole = file.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for cut in [*range(start + 1, len(whole), 40), len(whole) - 1]:
        file.write_bytes(whole[:cut])
        assert "the last line has no end" in render_report(verify_chain(root))
        with writing(root) as ledger:
            ledger.add(refusal(3))
        assert verify_chain(root).is_whole
        assert verbs(root) == ["chain begin", "refused activate", "chain repair", "refused activate"]
        said = read(root)[2].act.evidence
        assert said.startswith(f"the last line had no end ({cut - start} bytes): a cut of power; it is taken away: {{")


@pytest.mark.parametrize("junk", [b"\0" * 4096, b"rubbish", b'{"at":'])
def test_what_a_power_cut_leaves_behind_is_repaired(root: Path, junk: bytes) -> None:
    with writing(root) as ledger:
        ledger.add(refusal())
    (file,) = find_files(audit_folder(root))
    with file.open("ab") as stream:
        stream.write(junk)
    with writing(root) as ledger:
        ledger.add(refusal())
    assert verify_chain(root).is_whole
    assert verbs(root)[2] == "chain repair"


def test_a_file_that_is_emptied_or_rotten_throughout_is_kept_aside_and_the_loss_is_told(root: Path) -> None:
    with writing(root) as ledger:
        ledger.add(refusal())
    head = read_head(root)
    (file,) = find_files(audit_folder(root))
    file.write_bytes(b"rotten\n" * 100)
    with writing(root) as ledger:
        ledger.add(refusal())
    assert "kept as .spoiled: the chain begins anew" in read(root)[0].act.evidence
    assert len(list(audit_folder(root).glob("*.spoiled-*"))) == 1
    assert verify_chain(root).is_whole, "for itself"
    assert not verify_chain(root, anchors=[head]).is_whole, "not for whoever saw the other one"


def test_an_end_cut_off_under_the_writers_eyes_is_told_by_itself(root: Path) -> None:
    with writing(root) as ledger:
        for number in range(6):
            ledger.add(refusal(number))
        assert ledger.flush()
        (file,) = find_files(audit_folder(root))
        file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:4]))
        ledger.add(refusal(9))
    assert [entry.number for entry in read(root)] == [1, 2, 3, 4, 5, 6]
    assert render_report(verify_chain(root)) == (
        "000000000001.jsonl:5: the end was cut off here before: entries 5 to 7 were there, and are gone"
    )


# --- disks that fail ---------------------------------------------------------------------------------------------


class Ill(Disk):
    """A disk that refuses while `code` is set, after so many bytes of the write have gone."""

    def __init__(self, code: int, *, partly: int = 0) -> None:
        self.code = code
        self.partly = partly

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if self.code:
            super().write(fd, data[: self.partly], offset)
            raise OSError(self.code, os.strerror(self.code))
        super().write(fd, data, offset)


@pytest.mark.parametrize("partly", [0, 1, 100, 1000])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_disk_that_refuses_stops_nobody_and_all_is_written_later(root: Path, code: int, partly: int) -> None:
    disk, logged = Ill(code, partly=partly), list[str]()
    with writing(root, disk, log=logged.append) as ledger:
        began = time.perf_counter()
        for number in range(50):
            ledger.add(refusal(number))
        assert time.perf_counter() - began < 5
        assert not ledger.flush(0.05)
        assert ledger.trouble.startswith("the audit cannot be written: ")
        disk.code = 0
        assert ledger.flush()
        assert not ledger.trouble
    assert [entry.act.evidence for entry in read(root)[1:]] == [f"no {number}" for number in range(50)]
    assert verify_chain(root).is_whole
    # Told when it changes, not for each line: it may refuse in other words while a line is half written.
    assert logged[-1] == "the audit is written again"
    assert len(logged) <= 4


def test_what_no_longer_fits_is_counted_and_the_journals_part_of_it_is_brought(root: Path) -> None:
    disk = Ill(errno.ENOSPC)
    with writing(root, disk, limits=Limits(room=10, retry_seconds=0.01)) as ledger:
        for number in range(8):
            ledger.add(refusal(number))
        for record in journal(root, *range(1, 31)):
            ledger.add(step(record.seq))
        assert not ledger.flush(0.05)
        disk.code = 0
        assert ledger.flush()
    assert verify_chain(root).is_whole
    lost = [entry.act.evidence for entry in read(root) if entry.act.verb == "lost"]
    assert lost == [
        f"28 entries were lost (the audit cannot be written: {audit_folder(root)}: the disk is full); "
        "those that the journal still held were brought"
    ]
    assert sorted(entry.act.seq for entry in read(root) if entry.act.seq) == list(range(1, 31))
    assert sum(entry.act.kind is Kind.REFUSED for entry in read(root)) == 8


def test_a_disk_that_hangs_delays_nobody(root: Path) -> None:
    goes_on = threading.Event()

    class Hung(Disk):
        def write(self, fd: int, data: bytes, offset: int) -> None:
            goes_on.wait(10)
            super().write(fd, data, offset)

    with writing(root, Hung(), limits=Limits(room=100)) as ledger:
        began = time.perf_counter()
        for number in range(1000):
            ledger.add(refusal(number))
        assert not ledger.flush(0.1)
        assert time.perf_counter() - began < 0.5
        goes_on.set()
        assert ledger.flush()
    assert "entries were lost (they came too fast)" in next(e.act.evidence for e in read(root) if e.act.verb == "lost")
    assert verify_chain(root).is_whole


def test_every_operation_may_fail_in_turn_and_the_chain_stays_whole(root: Path) -> None:
    names = ("open", "write", "fdatasync", "chmod", "mkdir", "sync_folder", "truncate", "unlink")
    for nth in range(1, 21):
        home = make_root(root / str(nth))
        journal(home, 1)
        disk = FailingDisk(nth, code=(errno.ENOSPC, errno.EIO)[nth % 2], only=names)
        with writing(home, disk, limits=Limits(size=600, files=2, retry_seconds=0.001)) as ledger:
            for number in range(4):
                ledger.add(refusal(number))
                assert ledger.flush(), disk.failed
        report = verify_chain(home)
        assert report.is_whole, (nth, disk.failed, report.flaws)
        assert read(home)[-1].act.evidence == "no 3"


def test_a_file_system_that_can_only_be_read_stops_nobody(root: Path) -> None:
    audit_folder(root).write_text("no folder")
    with writing(root) as ledger:
        ledger.add(refusal())
        assert not ledger.flush(0.05)
        assert "the audit cannot be written" in ledger.trouble
        audit_folder(root).unlink()
        assert ledger.flush()
    assert verify_chain(root).is_whole


def test_what_cannot_be_said_as_json_is_told_as_lost_and_holds_nothing_up(root: Path) -> None:
    with writing(root) as ledger:
        ledger.add(Act(float("nan"), Kind.DONE, "x"))
        ledger.add(refusal())
        assert ledger.flush()
    assert "an entry that cannot be written" in read(root)[1].act.evidence
    assert verify_chain(root).is_whole


def test_a_killed_writer_leaves_a_chain_that_goes_on(root: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from dsops.core.audit import Act, Kind\n"
        "from dsops.node.store.disk import Disk; from dsops.node.store.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]), Disk())\n"
        "for n in range(2000): ledger.add(Act(n, Kind.DONE, 'x')); n == int(sys.argv[2]) and os.kill(os.getpid(), 9)\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for nth in (3, 400):
        done = subprocess.run([sys.executable, "-c", code, root, str(nth)], env=env, capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with writing(root) as ledger:
            ledger.add(refusal())
        assert verify_chain(root).is_whole


# --- files that turn ---------------------------------------------------------------------------------------------


def test_the_chain_goes_on_over_files_and_the_oldest_go_and_are_told(root: Path) -> None:
    with writing(root, limits=Limits(size=3000, files=3)) as ledger:
        for number in range(100):
            ledger.add(refusal(number))
            ledger.flush()
    files = find_files(audit_folder(root))
    assert len(files) == 3
    assert all(int(file.stem) == parse_line(file.read_bytes().splitlines()[0]).number for file in files)
    report = verify_chain(root)
    assert report.is_whole, render_report(report)
    assert report.first > 1
    files[0].unlink()
    assert "the beginning: entries 1 to" in render_report(verify_chain(root))


def test_a_file_in_the_middle_that_is_gone_is_found(root: Path) -> None:
    with writing(root, limits=Limits(size=1000)) as ledger:
        for number in range(12):
            ledger.add(refusal(number))
            ledger.flush()
    find_files(audit_folder(root))[2].unlink()
    assert "are missing before this line" in render_report(verify_chain(root))


# --- reading -----------------------------------------------------------------------------------------------------


def test_the_tail_is_over_all_files_and_goes_on_after_a_number(root: Path) -> None:
    with writing(root, limits=Limits(size=1000)) as ledger:
        for number in range(9):
            ledger.add(refusal(number))
            ledger.flush()
    assert [parse_line(line.data).number for line in read_tail(root, count=4)] == [7, 8, 9, 10]
    assert [parse_line(line.data).number for line in read_tail(root, count=99, after=8)] == [9, 10]
    assert read_tail(root, count=5, after=10) == []


def test_a_server_without_a_chain_has_an_empty_one(root: Path) -> None:
    assert verify_chain(root).entries == 0
    assert (read_head(root), read_tail(root, count=3)) == (Head(), [])
    assert not verify_chain(root, anchors=[Head(3, "a" * 64)]).is_whole


def test_an_audit_that_cannot_be_read_says_so(root: Path) -> None:
    (audit_folder(root) / "000000000001.jsonl").mkdir(parents=True)
    with pytest.raises(DsopsError, match="the disk refuses: Is a directory"):
        verify_chain(root)
    assert read_reach(root).reason.startswith("the audit cannot be read")


# --- what the agent sees -----------------------------------------------------------------------------------------


def test_the_agent_finds_an_audit_that_falls_behind_its_journal(root: Path) -> None:
    journal(root, 1, 2, 3)
    now = AT + 1000
    assert check_audit(read_reach(root), read_history(root / "state/journal"), at=now) == (), "it keeps no audit yet"
    audit_folder(root).mkdir()
    records = read_history(root / "state/journal")
    (found,) = check_audit(read_reach(root), records, at=now)
    assert (found.code, found.reason) == ("audit.behind", "nothing is written to the audit: the journal is at 3")
    with writing(root) as ledger:
        ledger.begin()
        ledger.flush()
    assert check_audit(read_reach(root), records, at=now) == ()
    records += journal(root, 4, 5)
    assert find_lag(read_reach(root), records, at=now) == (
        "the audit cannot be written: it lacks the last 2 of the journal's transitions, up to 5"
    )
    assert find_lag(read_reach(root), records, at=AT + 10) == "", "it may be written yet"
    assert found.blame not in (Blame.STORAGE, Blame.HARDWARE, Blame.ENVIRONMENT), "it must excuse no release (R13)"
    assert find_lag(Reach(reason="x"), records, at=now) == "x"
    assert find_lag(Reach(), [], at=now) == ""


def test_one_transition_from_the_middle_that_comes_late_is_no_falling_behind(root: Path) -> None:
    with writing(root) as ledger:
        ledger.begin()
        ledger.flush()
        records = journal(root, 1, 2, 3, 4)
        for seq in (1, 3, 4):
            ledger.add(step(seq))
        ledger.flush()
    with writing(root) as ledger:
        ledger.begin()
        ledger.flush()
    assert verbs(root)[-1] == "late activate 2"
    assert find_lag(read_reach(root), records, at=AT + 1000) == ""
    records += journal(root, 5, 6)
    assert "lacks the last 2 " in find_lag(read_reach(root), records, at=AT + 1000)
    with writing(root) as ledger:
        ledger.begin()
        ledger.flush()
    assert verbs(root)[-2:] == ["late activate 5", "late activate 6"]
    assert find_lag(read_reach(root), records, at=AT + 1000) == ""


def test_the_chain_is_read_again_only_when_it_was_written(root: Path) -> None:
    reader = ReachReader(root)
    assert not reader.read().is_there
    with writing(root) as ledger:
        ledger.add(step(1))
        ledger.flush()
        first = reader.read()
        assert (first.step, reader.read() is first) == ((1, AT + 1), True)
        ledger.add(step(2))
        ledger.flush()
    assert reader.read().step == (2, AT + 2)


def test_reach_is_found_behind_many_refusals(root: Path) -> None:
    with writing(root, limits=Limits(size=20_000)) as ledger:
        ledger.add(step(7))
        for number in range(1200):
            ledger.add(refusal(number))
        assert ledger.flush()
    assert read_reach(root) == Reach(1202, (7, AT + 7))


def test_a_line_is_one_json_object_as_other_tools_want_it(root: Path) -> None:
    with writing(root) as ledger:
        ledger.add(refusal())
    for line in find_files(audit_folder(root))[0].read_text().splitlines():
        assert json.loads(line)["node"] == "gpu1"
