"""The agent's memory of what happened: SQLite, written beside the loop; nothing here ever decides anything."""

import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dsops.core.story import Decision
from dsops.node.store.journal import Record

log = logging.getLogger("dsops.agent")
ENTRIES = 5000
STORIES = 500
WAITING = 2000
BUSY_SECONDS = 5.0
SCHEMA = """
create table if not exists entries (
  id integer primary key, at real not null, kind text not null, release text not null, says text not null,
  who text not null, seq integer, unique (seq, at));
create index if not exists entries_at on entries (at);
create table if not exists stories (began real primary key, data text not null);
create table if not exists kept (key text primary key, data text not null);
"""


@dataclass(frozen=True)
class Entry:
    """One line of history. at: Unix seconds. seq: of the store's journal, None for what the agent itself saw."""

    at: float
    kind: str
    release: str
    says: str
    who: str
    seq: int | None = None


class History:
    """Writes are queued and done by one thread; a disk that hangs costs history, never a tick."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.trouble = ""
        self._work: queue.Queue[Callable[[sqlite3.Connection], object] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        if path:
            self.trouble = ensure_database(path)
            self._thread.start()
        if self.trouble:
            self.add(Entry(time.time(), "history", "", self.trouble, "dsops-agent"))

    def add(self, entry: Entry) -> None:
        """Keeps one line."""
        self._put(lambda database: _insert(database, [entry]))

    def add_records(self, records: Sequence[Record]) -> None:
        """Takes over the store's transitions; those that are here already stay as they are."""
        entries = [Entry(r.at, r.event, r.release, r.says, r.who, r.seq) for r in records]
        self._put(lambda database: _insert(database, entries))

    def tell(self, decision: Decision) -> None:
        """Keeps a story; one that goes on replaces itself."""
        data = json.dumps(decision.to_data(), ensure_ascii=False)
        self._put(lambda database: _replace_story(database, decision.began, data))

    def keep(self, key: str, value: object) -> None:
        """Keeps one value over restarts."""
        data = json.dumps(asdict(value) if hasattr(value, "__dataclass_fields__") else value)  # type: ignore[call-overload]
        self._put(lambda database: database.execute("insert or replace into kept values (?, ?)", (key, data)))

    def find_kept(self, key: str) -> Any:
        """A kept value as plain data, None when there is none. Blocking."""
        rows = self._ask("select data from kept where key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def find_stories(self, count: int) -> list[dict[str, Any]]:
        """The newest first, as plain data. Blocking."""
        return [json.loads(row[0]) for row in self._ask("select data from stories order by began desc limit ?", count)]

    def find_entries(self, count: int) -> list[Entry]:
        """The newest first. Blocking."""
        words = "select at, kind, release, says, who, seq from entries order by at desc, id desc limit ?"
        return [Entry(*row) for row in self._ask(words, count)]

    def flush(self, seconds: float = 2.0) -> None:
        """Waits until what was queued is written, or the time is over. Blocking."""
        done = threading.Event()
        if self.path:
            with suppress(queue.Full):
                self._work.put(lambda _: done.set(), timeout=seconds)
                done.wait(seconds)

    def close(self) -> None:
        """Writes what is queued, within two seconds."""
        if self.path and self._thread.is_alive():
            with suppress(queue.Full):
                self._work.put(None, timeout=2.0)
            self._thread.join(2.0)

    def _put(self, work: Callable[[sqlite3.Connection], object]) -> None:
        try:
            if self.path:
                self._work.put_nowait(work)
        except queue.Full:
            self.trouble = "the history's disk hangs: lines are lost"

    def _ask(self, words: str, *values: object) -> list[tuple[Any, ...]]:
        if not self.path:
            return []
        try:
            with closing(_connect(self.path)) as database:
                return database.execute(words, values).fetchall()
        except sqlite3.Error as error:
            self.trouble = f"the history cannot be read ({error})"
            return []

    def _run(self) -> None:
        assert self.path
        database: sqlite3.Connection | None = None
        while (work := self._work.get()) is not None:
            try:
                database = database or _connect(self.path)
                with database:
                    work(database)
                self.trouble = ""
            except sqlite3.Error as error:
                self._complain(error)
                database = None
        if database:
            database.close()

    def _complain(self, error: sqlite3.Error) -> None:
        assert self.path
        log.error("%s: a line of history is lost (%s)", self.path, error)
        is_broken = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        self.trouble = ensure_database(self.path) if is_broken else f"history is lost ({error})"


def ensure_database(path: Path) -> str:
    """Makes or checks the file; a broken one is put aside. What is wrong in words, "" when all is well."""
    said = ""
    for _ in range(2):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(_connect(path)) as database:
                found = database.execute("pragma quick_check(1)").fetchone()[0]
                if found != "ok":
                    raise sqlite3.DatabaseError(str(found))
                database.executescript(SCHEMA)
            return said
        except sqlite3.OperationalError as error:
            log.error("%s: no history is kept (%s)", path, error)
            return f"no history is kept ({error})"
        except (sqlite3.DatabaseError, OSError) as error:
            said = _move_aside(path, error)
    return said


def _move_aside(path: Path, error: Exception) -> str:
    aside = next(p for n in range(1000) if not (p := path.with_name(f"{path.name}.broken-{n}")).exists())
    said = f"the history was broken ({error}) and begins anew; the old one is {aside.name}"
    log.error("%s: %s", path, said)
    try:
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    except OSError as other:
        return f"no history is kept ({other})"
    return said


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = normal")
    return database


def _insert(database: sqlite3.Connection, entries: Sequence[Entry]) -> None:
    rows = [(e.at, e.kind, e.release, e.says, e.who, e.seq) for e in entries]
    database.executemany(
        "insert or ignore into entries (at, kind, release, says, who, seq) values (?, ?, ?, ?, ?, ?)", rows
    )
    database.execute("delete from entries where id <= (select max(id) from entries) - ?", (ENTRIES,))


def _replace_story(database: sqlite3.Connection, began: float, data: str) -> None:
    database.execute("insert or replace into stories values (?, ?)", (began, data))
    words = "delete from stories where began not in (select began from stories order by began desc limit ?)"
    database.execute(words, (STORIES,))
