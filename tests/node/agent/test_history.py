"""History survives restarts, corruption and a disk that hangs; and it never decides anything."""

import sqlite3
import threading
from pathlib import Path

from dsops.core.state import NodeState
from dsops.core.status import Blame, Proof
from dsops.core.story import Decision, Moment
from dsops.node.agent import history as module
from dsops.node.agent.history import Entry, History
from dsops.node.store.journal import Record


def make_story(began: float, outcome: str = "") -> Decision:
    return Decision(
        "gpu1", "r1", began, (Moment(began, "bad 1", "x"),), Blame.RELEASE, "why", (), "rollback", outcome, ""
    )


def test_what_was_kept_is_there_after_a_restart_newest_first(tmp_path: Path) -> None:
    first = History(tmp_path / "h.db")
    first.add(Entry(1.0, "eject", "r1", "it hangs", "dsops-agent"))
    first.add(Entry(2.0, "admit", "r1", "well again", "dsops-agent"))
    first.tell(make_story(1.0))
    first.tell(make_story(1.0, "over"))
    first.tell(make_story(5.0))
    first.keep("proof", Proof("r1", 1.0, 3, 3, 0.5, None, ("H100",)))
    first.close()
    second = History(tmp_path / "h.db")
    assert [entry.kind for entry in second.find_entries(10)] == ["admit", "eject"]
    assert [(s["began"], s["outcome"]) for s in second.find_stories(9)] == [(5.0, ""), (1.0, "over")]
    assert second.find_kept("proof")["gpus"] == ["H100"]
    assert second.find_kept("nothing") is None
    second.close()


def test_the_journals_transitions_are_taken_over_once(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    records = [Record(n, float(n), "activate", "r1", "says", "ann", NodeState()) for n in (1, 2, 3)]
    history.add_records(records[:2])
    history.add_records(records)
    history.flush()
    assert [entry.seq for entry in history.find_entries(10)] == [3, 2, 1]
    # A journal that began anew has the same numbers for other things.
    history.add_records([Record(1, 9.0, "begin", "", "new", "dsops", NodeState())])
    history.flush()
    assert history.find_entries(1)[0].says == "new"
    history.close()


def test_a_broken_file_is_put_aside_and_history_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "h.db").write_bytes(b"no database" * 1000)
    history = History(tmp_path / "h.db")
    assert "begins anew" in history.trouble
    assert (tmp_path / "h.db.broken-0").read_bytes().startswith(b"no database")
    history.add(Entry(1.0, "x", "", "", ""))
    history.flush()
    assert [entry.kind for entry in history.find_entries(10)] == ["history", "x"]
    history.close()


def test_a_file_that_breaks_while_it_is_used_is_put_aside_too(tmp_path: Path) -> None:
    path = tmp_path / "h.db"
    history = History(path)
    for n in range(200):
        history.add(Entry(float(n), "x", "r", "y" * 500, "z"))
    history.flush()
    with sqlite3.connect(path) as database:
        database.execute("pragma wal_checkpoint(truncate)")
    data = path.read_bytes()
    path.write_bytes(data[:4096] + bytes(len(data) - 4096))
    for n in range(3):
        history.add(Entry(1000.0 + n, "x", "r", "after", "z"))
        history.flush()
    assert list(tmp_path.glob("h.db.broken-*"))
    assert history.find_entries(1)[0].says == "after"
    history.close()


def test_a_folder_that_cannot_be_written_costs_history_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    history = History(tmp_path / "file/h.db")
    assert "no history is kept" in history.trouble or "begins anew" in history.trouble
    history.add(Entry(1.0, "x", "", "", ""))
    assert history.find_entries(5) == []
    assert history.find_kept("x") is None
    history.close()


def test_a_disk_that_hangs_never_stops_who_writes(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    released = threading.Event()
    history._put(lambda _: released.wait(10))
    for n in range(module.WAITING + 50):
        history.add(Entry(float(n), "x", "", "", ""))
    assert "hangs" in history.trouble
    released.set()
    history.flush(5)
    assert history.trouble == ""
    history.close()


def test_without_a_path_nothing_is_kept() -> None:
    history = History(None)
    history.add(Entry(1.0, "x", "", "", ""))
    assert history.find_entries(5) == []
    history.close()
