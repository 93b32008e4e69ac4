"""What the helper tells its audit chain, and that no audit, however ill, stops what it does."""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dsops.core.audit import Act, Kind, parse_line
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch, NodeState
from dsops.node.helper.audit import Scribe
from dsops.node.helper.peers import Peer
from dsops.node.helper.tell import Note
from dsops.node.store.audit import audit_folder, find_files, read_lines, verify_chain
from dsops.node.store.disk import Disk
from dsops.node.store.journal import Record, journal_path, read_history
from dsops.node.store.ledger import Ledger, Limits

from tests.node.helper.conftest import Talk, serving
from tests.node.store.bed import Bed, Made


@pytest.fixture
def ledger(bed: Bed) -> Iterator[Ledger]:
    bed.ledger = Ledger(bed.root, Disk(), node="gpu1", now=lambda: bed.at)
    yield bed.ledger
    bed.ledger.close()


@pytest.fixture
def talk(bed: Bed, ledger: Ledger) -> Iterator[Talk]:
    desk = bed.desk()
    desk.moves.begin()
    with serving(desk, bed.root / "sock") as talk:
        yield talk


def acts(bed: Bed) -> list[Act]:
    assert bed.ledger
    assert bed.ledger.flush()
    assert verify_chain(bed.root).is_whole
    return [parse_line(line.data).act for line in read_lines(bed.root)]


def test_every_transition_of_the_journal_is_in_the_audit(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    talk.push(one)
    talk.push(two)
    talk.bring(one.id)
    talk.bring(two.id)
    talk("rollback", who="kim", reason="wrong answers", lasting=True)
    told = [(act.seq, act.verb, act.who, act.at) for act in acts(bed) if act.kind is Kind.STEP]
    assert told == [(one.seq, one.event, one.who, one.at) for one in read_history(journal_path(bed.root))]


def test_an_entry_says_who_did_what_why_and_from_what_to_what(talk: Talk, bed: Bed, one: Made, two: Made) -> None:
    talk.push(one)
    talk.push(two)
    talk.bring(one.id)
    talk.bring(two.id, epoch=7, holder="control-1")
    talk("rollback", who="kim", reason="wrong answers", lasting=True)
    told = {act.verb: act for act in acts(bed) if act.kind is Kind.STEP}
    switched, back = told["proven"], told["rollback"]
    assert (switched.leaves, switched.to, switched.epoch) == (one.id, two.id, Epoch(7, "control-1"))
    assert (switched.why, switched.node) == ("8 of 8", "gpu1")
    assert (back.who, back.why, back.leaves, back.to) == ("kim", "wrong answers", two.id, one.id)
    assert back.evidence.startswith(f"back from {two.id} to {one.id}")
    done = next(act for act in acts(bed) if act.kind is Kind.DONE and act.verb == "rollback")
    assert (done.who, done.why, done.evidence) == ("kim", "wrong answers", "lasting; asked as root (pid 1)")


def test_what_was_refused_is_told_with_who_asked_and_why_not(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    with pytest.raises(DsopsError):
        talk("activate", release="r" + "0" * 12, who="kim", reason="new", epoch=3, holder="control-1")
    with pytest.raises(DsopsError):
        talk("rollback", who="kim", reason="x")
    with pytest.raises(DsopsError):
        talk("activate", release=one.id, who="kim")
    talk.peer = Peer.AGENT
    with pytest.raises(DsopsError):
        talk("remove", release=one.id, who="dsops-agent", reason="room")
    refused = [act for act in acts(bed) if act.kind is Kind.REFUSED]
    where = f"{bed.root}/releases/r{'0' * 12}/release.json"
    assert [(act.verb, act.who, act.to, act.evidence) for act in refused] == [
        ("activate", "kim", "r" + "0" * 12, f"{where}: r{'0' * 12} is not on this node; asked as root (pid 1)"),
        ("rollback", "kim", "", "nothing is active here, so there is nothing to leave; asked as root (pid 1)"),
        ("activate", "kim", one.id, "activate: reason is missing or empty; asked as root (pid 1)"),
        ("remove", "dsops-agent", one.id, "dsops-agent may not ask for remove; asked as dsops-agent (pid 1)"),
    ]
    assert refused[0].epoch == Epoch(3, "control-1")


def test_a_refused_epoch_is_told_though_the_journal_has_nothing_of_it(talk: Talk, bed: Bed, one: Made) -> None:
    talk.push(one)
    talk.bring(one.id, epoch=9, holder="control-1")
    with pytest.raises(DsopsError):
        talk("rollback", who="eve", reason="x", epoch=8, holder="control-2")
    last = acts(bed)[-1]
    assert (last.kind, last.who, last.epoch) == (Kind.REFUSED, "eve", Epoch(8, "control-2"))
    assert last.evidence.startswith("epoch 8 is older than 9 of control-1")


def test_what_the_agent_is_refused_again_and_again_is_told_once(talk: Talk, bed: Bed) -> None:
    talk.peer = Peer.AGENT
    for _ in range(30):
        with pytest.raises(DsopsError):
            talk("rollback", reason="hung", own=True)
    assert sum(act.kind is Kind.REFUSED for act in acts(bed)) == 1
    bed.at += 3600
    with pytest.raises(DsopsError):
        talk("rollback", reason="hung", own=True)
    assert acts(bed)[-1].evidence.endswith("(and 29 times before); own; asked as dsops-agent (pid 1)")


def test_reading_is_not_audited(talk: Talk, bed: Bed) -> None:
    for _ in range(3):
        talk("state")
        talk("list")
        talk("age")
    assert [act.verb for act in acts(bed)] == ["begin", "begin"]


# --- the audit is ill: everything else goes on ------------------------------------------------------------------


class Ill(Disk):
    """Refuses or hangs as it is told."""

    def __init__(self, *, code: int = 0, hangs: float = 0.0) -> None:
        self.code = code
        self.hangs = hangs

    def opened(self, path: Path, flags: int, mode: int = 0o600) -> Any:
        if self.code:
            raise OSError(self.code, os.strerror(self.code))
        time.sleep(self.hangs)
        return super().opened(path, flags, mode)


@pytest.mark.parametrize(
    "ill",
    [Ill(code=errno.ENOSPC), Ill(code=errno.EIO), Ill(code=errno.EROFS), Ill(code=errno.EACCES), Ill(hangs=30.0)],
    ids=["full", "broken", "read-only", "forbidden", "hangs"],
)
def test_a_rollback_does_not_wait_for_the_audit(bed: Bed, one: Made, two: Made, ill: Ill) -> None:
    bed.ledger = Ledger(bed.root, ill, limits=Limits(retry_seconds=0.01))
    desk = bed.desk()
    desk.moves.begin()
    with serving(desk, bed.root / "sock") as talk:
        talk.push(one)
        talk.push(two)
        talk.bring(one.id)
        talk.bring(two.id)
        began = time.perf_counter()
        said = talk("rollback", who="kim", reason="wrong answers")
        assert time.perf_counter() - began < 15
    assert said["state"]["active"]["release"] == one.id
    assert bed.serves() == ("a", one.id)
    assert not bed.ledger.flush(0.01)


def test_what_an_ill_audit_missed_is_brought_when_the_helper_starts_again(bed: Bed, one: Made) -> None:
    bed.ledger = Ledger(bed.root, Ill(code=errno.ENOSPC))
    desk = bed.desk()
    desk.moves.begin()
    with serving(desk, bed.root / "sock") as talk:
        talk.push(one)
        talk.bring(one.id)
    assert not find_files(audit_folder(bed.root))
    bed.ledger = Ledger(bed.root, Disk(), now=lambda: bed.at)
    bed.ledger.begin()
    steps = [(act.kind, act.verb) for act in acts(bed) if act.seq]
    assert steps == [(Kind.LATE, one.event) for one in read_history(journal_path(bed.root))]


def test_a_bug_of_the_audit_stays_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    class Buggy(Ledger):
        node = "gpu1"

        def __init__(self) -> None:
            pass

        def add(self, act: Act) -> None:
            raise RuntimeError("a bug")

    Scribe(Buggy()).tell_step(Record(1, 1.0, "x", "", "", "", NodeState()), NodeState(), Note("kim"))
    assert "RuntimeError: a bug" in capfd.readouterr().err


def test_a_drain_at_the_servers_own_door_is_told_as_well(talk: Talk, bed: Bed) -> None:
    talk("drain", who="kim", reason="a fan")
    talk("undrain", who="kim")
    with pytest.raises(DsopsError, match="who is missing"):
        talk("drain", reason="x")
    drained, undrained = acts(bed)[-2:]
    assert (drained.verb, drained.who, drained.why) == ("drain", "kim", "a fan")
    assert (undrained.verb, undrained.who) == ("undrain", "kim")
