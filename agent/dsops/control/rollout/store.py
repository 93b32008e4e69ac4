"""What rollouts must not forget: each one's whole state, its epoch, the orders to it, the fleet's bad list and halt."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dsops.control.fleet.epoch import open_state, read_last, take_next
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch

SCHEMA = """
CREATE TABLE IF NOT EXISTS rollout (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    inventory TEXT NOT NULL,
    release TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    began REAL NOT NULL,
    epoch INTEGER NOT NULL,
    holder TEXT NOT NULL,
    state TEXT NOT NULL,
    saved REAL NOT NULL,
    ended REAL,
    outcome TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX IF NOT EXISTS one_active ON rollout (inventory) WHERE ended IS NULL;
CREATE TABLE IF NOT EXISTS asked (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    rollout INTEGER NOT NULL,
    verb TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    at REAL NOT NULL,
    taken REAL,
    answer TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS told (rollout INTEGER NOT NULL, at REAL NOT NULL, who TEXT NOT NULL, says TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS fleet (inventory TEXT PRIMARY KEY, state TEXT NOT NULL);
"""
COLUMNS = "id, release, who, reason, began, epoch, holder, state, saved, ended, outcome"


class FencedError(DsopsError):
    """Another command has taken a higher epoch: whoever meets this must give no order any more."""


@dataclass(frozen=True)
class Kept:
    """A rollout as it was last written. state: JSON. ended: Unix seconds, None while it is active."""

    id: int
    release: str
    who: str
    reason: str
    began: float
    epoch: Epoch
    state: str
    saved: float
    ended: float | None = None
    outcome: str = ""


@dataclass(frozen=True)
class Asked:
    """What a person wants of the controller that runs: pause, resume, abort."""

    id: int
    verb: str
    who: str
    reason: str
    at: float


@dataclass(frozen=True)
class Line:
    """A line of a rollout's log."""

    at: float
    who: str
    says: str


@dataclass(frozen=True)
class Store:
    """Of one inventory. Every change is one transaction, on disk before the method returns."""

    folder: Path
    inventory: Path

    def start(self, make: Callable[[int, Epoch], str], *, release: str, who: str, reason: str, at: float) -> Kept:
        """Takes the next epoch and writes the first state, made of its number and that. Raises DsopsError.

        What `make` raises leaves nothing behind; neither does another rollout that is active.
        """
        with self._opened() as database:
            if active := self._find(database, "ended IS NULL"):
                raise already_active(active)
            epoch = take_next(database, self.inventory)
            words = (self._name, release, who, reason, at, epoch.number, epoch.holder, "", at)
            columns = "inventory, release, who, reason, began, epoch, holder, state, saved"
            sql = f"INSERT INTO rollout ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  # our own words
            number = int(database.execute(sql, words).lastrowid or 0)
            database.execute("UPDATE rollout SET state = ? WHERE id = ?", (make(number, epoch), number))
            self._tell(database, number, at=at, who=who, says=f"begins with {release}: {reason}")
            return self._get_active(database)

    def take_over(self, *, who: str, says: str, at: float) -> Kept:
        """A new epoch for the active rollout: whoever ran it before is fenced off. Raises DsopsError."""
        with self._opened() as database:
            kept = self._get_active(database)
            epoch = take_next(database, self.inventory)
            database.execute(
                "UPDATE rollout SET epoch = ?, holder = ? WHERE id = ?", (epoch.number, epoch.holder, kept.id)
            )
            self._tell(database, kept.id, at=at, who=who, says=f"{says} (epoch {epoch.number})")
            return self._get_active(database)

    def check(self, kept: Kept) -> None:
        """Raises FencedError when this controller has no say any more. To be asked before every order.

        Also the last orders of a rollout that has ended are its own.
        """
        with self._opened() as database:
            self._check(database, kept)

    def save(
        self,
        kept: Kept,
        state: str,
        *,
        at: float,
        says: tuple[str, ...] = (),
        who: str = "dsops",
        outcome: str = "",
        fleet: str = "",
    ) -> Kept:
        """The next state, before its effects are done. outcome: it has ended so. fleet: what the fleet remembers now.

        Raises FencedError, and then nothing is written.
        """
        with self._opened() as database:
            found = self._check(database, kept)
            if found.ended is not None:
                raise fenced(kept, kept.epoch, found)
            database.execute(
                "UPDATE rollout SET state = ?, saved = ?, ended = ?, outcome = ? WHERE id = ?",
                (state, at, at if outcome else None, outcome, kept.id),
            )
            if fleet:
                database.execute("REPLACE INTO fleet VALUES (?, ?)", (self._name, fleet))
            for line in says:
                self._tell(database, kept.id, at=at, who=who, says=line)
            return self._get(database, kept.id)

    def tell(self, kept: Kept, says: str, *, who: str, at: float) -> None:
        """A line of the log that changes nothing."""
        with self._opened() as database:
            self._tell(database, kept.id, at=at, who=who, says=says)

    def find_active(self) -> Kept | None:
        with self._opened() as database:
            return self._find(database, "ended IS NULL")

    def find(self, number: int) -> Kept | None:
        with self._opened() as database:
            return self._find(database, "id = ?", number)

    def list(self, *, limit: int = 20) -> list[Kept]:
        """The newest first."""
        with self._opened() as database:
            query = f"SELECT {COLUMNS} FROM rollout WHERE inventory = ? ORDER BY id DESC LIMIT ?"  # noqa: S608
            return [_kept(row) for row in database.execute(query, (self._name, limit))]

    def read_lines(self, number: int, *, limit: int = 50) -> tuple[Line, ...]:
        """The last of a rollout's log, the oldest first."""
        with self._opened() as database:
            query = "SELECT at, who, says FROM told WHERE rollout = ? ORDER BY rowid DESC LIMIT ?"
            return tuple(Line(*row) for row in database.execute(query, (number, limit)).fetchall()[::-1])

    def ask(self, kept: Kept, verb: str, *, who: str, reason: str, at: float) -> int:
        """Leaves an order for the controller that runs; its number."""
        with self._opened() as database:
            words = (kept.id, verb, who, reason, at)
            sql = "INSERT INTO asked (rollout, verb, who, reason, at) VALUES (?, ?, ?, ?, ?)"
            return int(database.execute(sql, words).lastrowid or 0)

    def find_asked(self, kept: Kept) -> tuple[Asked, ...]:
        """Orders that no controller has taken yet, the oldest first."""
        with self._opened() as database:
            query = "SELECT id, verb, who, reason, at FROM asked WHERE rollout = ? AND taken IS NULL ORDER BY id"
            return tuple(Asked(*row) for row in database.execute(query, (kept.id,)))

    def take(self, number: int, *, at: float, answer: str) -> None:
        """An order that was done, refused, or withdrawn."""
        with self._opened() as database:
            database.execute("UPDATE asked SET taken = ?, answer = ? WHERE id = ?", (at, answer, number))

    def find_answer(self, number: int) -> str | None:
        """What became of an order: "" = done, else why not; None while nobody has taken it."""
        with self._opened() as database:
            found = database.execute("SELECT taken, answer FROM asked WHERE id = ?", (number,)).fetchone()
            return str(found[1]) if found and found[0] is not None else None

    def read_fleet(self) -> str:
        """What the fleet remembers beyond one rollout, as JSON; "" at first."""
        with self._opened() as database:
            found = database.execute("SELECT state FROM fleet WHERE inventory = ?", (self._name,)).fetchone()
            return str(found[0]) if found else ""

    def change_fleet(self, change: Callable[[str], str]) -> str:
        """By a person, outside a rollout; what it is then. `change` may refuse."""
        with self._opened() as database:
            found = database.execute("SELECT state FROM fleet WHERE inventory = ?", (self._name,)).fetchone()
            after = change(str(found[0]) if found else "")
            database.execute("REPLACE INTO fleet VALUES (?, ?)", (self._name, after))
            return after

    @property
    def _name(self) -> str:
        return str(self.inventory.resolve())

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with open_state(self.folder) as database:
            _ensure_schema(database)
            yield database

    def _check(self, database: sqlite3.Connection, kept: Kept) -> Kept:
        last, found = read_last(database, self.inventory), self._get(database, kept.id)
        if last == kept.epoch == found.epoch:
            return found
        raise fenced(kept, last, found)

    def _get(self, database: sqlite3.Connection, number: int) -> Kept:
        if found := self._find(database, "id = ?", number):
            return found
        what = f"rollout {number} is not known here any more"
        raise FencedError(what, where=str(self.folder), mend="was another backup restored? `dsops rollout list`")

    def _get_active(self, database: sqlite3.Connection) -> Kept:
        if active := self._find(database, "ended IS NULL"):
            return active
        raise DsopsError("no rollout is active", where=str(self.inventory), mend="`dsops rollout list` shows past ones")

    def _find(self, database: sqlite3.Connection, where: str, *words: object) -> Kept | None:
        query = f"SELECT {COLUMNS} FROM rollout WHERE inventory = ? AND {where}"  # noqa: S608  # ours, see above
        row = database.execute(query, (self._name, *words)).fetchone()
        return _kept(row) if row else None

    def _tell(self, database: sqlite3.Connection, number: int, *, at: float, who: str, says: str) -> None:
        database.execute("INSERT INTO told VALUES (?, ?, ?, ?)", (number, at, who, says))


def _ensure_schema(database: sqlite3.Connection) -> None:
    """Statement by statement: `executescript` would end the transaction."""
    for statement in SCHEMA.split(";"):
        if statement.strip():
            database.execute(statement)


def _kept(row: tuple[object, ...]) -> Kept:
    number, release, who, reason, began, epoch, holder, state, saved, ended, outcome = row
    return Kept(
        int(str(number)),
        str(release),
        str(who),
        str(reason),
        float(str(began)),
        Epoch(int(str(epoch)), str(holder)),
        str(state),
        float(str(saved)),
        None if ended is None else float(str(ended)),
        str(outcome),
    )


def already_active(active: Kept) -> DsopsError:
    """The refusal of a second rollout."""
    what = f"rollout {active.id} of {active.release} by {active.who} is active"
    return DsopsError(what, mend="`dsops rollout status` shows it; `dsops rollout abort --reason ...` ends it")


def fenced(kept: Kept, last: Epoch, found: Kept) -> FencedError:
    """Why this controller stops, in words."""
    if found.ended is not None:
        what = f"rollout {kept.id} was ended meanwhile ({found.outcome})"
    elif found.epoch != kept.epoch:
        mine = kept.epoch.number
        what = f"another controller has taken over rollout {kept.id} with epoch {last.number}; ours was {mine}"
    else:
        what = f"another command has taken epoch {last.number} meanwhile; this rollout has {kept.epoch.number}"
    mend = "`dsops rollout status`; `dsops rollout resume` takes the next epoch and goes on"
    return FencedError(f"{what}: this controller gives no order any more, and nodes would refuse it", mend=mend)
