"""This control host's place in line: every command that moves releases takes the next number of its inventory."""

import fcntl
import secrets
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.state import Epoch

MEND = "give another folder as --state (DSOPS_STATE), or become its owner"
SCHEMA = """
CREATE TABLE IF NOT EXISTS holder (name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS epoch (inventory TEXT PRIMARY KEY, number INTEGER NOT NULL);
"""


def find_state_folder(environ: Mapping[str, str], *, is_root: bool) -> Path:
    """Where a control host keeps what it must not forget: the machine's for root, else this account's."""
    if is_root:
        return Path("/var/lib/dsops-control")
    home = Path(environ.get("HOME") or "/")
    return Path(environ.get("XDG_STATE_HOME") or home / ".local/state") / "dsops"


def take_epoch(folder: Path, *, inventory: Path) -> Epoch:
    """The next number, on disk before it is told. A node that knows a higher one refuses. Raises DsopsError."""
    with _opened(folder) as database, database:
        database.execute("BEGIN IMMEDIATE")
        number = _read(database, inventory) + 1
        database.execute("REPLACE INTO epoch VALUES (?, ?)", (str(inventory.resolve()), number))
        return Epoch(number, _get_holder(database))


def read_epoch(folder: Path, *, inventory: Path) -> Epoch:
    """The last number that was taken; 0 when none was. Raises DsopsError."""
    with _opened(folder) as database, database:
        return Epoch(_read(database, inventory), _get_holder(database))


@contextmanager
def _opened(folder: Path) -> Iterator[sqlite3.Connection]:
    """The database, for one process at a time. Written before it is said (synchronous=FULL)."""
    file = folder / "epochs.db"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (folder / "epochs.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with closing(sqlite3.connect(file, timeout=10, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous=FULL")
                database.executescript(SCHEMA)
                yield database
    except OSError as error:
        raise DsopsError(f"cannot be written ({error.strerror})", where=str(folder), mend=MEND) from error
    except sqlite3.DatabaseError as error:
        mend = f"move it away, and make the nodes believe the new one: `dsops epoch adopt NODE --reason ...` ({MEND})"
        raise DsopsError(f"the epochs cannot be read or written ({error})", where=str(file), mend=mend) from error


def _read(database: sqlite3.Connection, inventory: Path) -> int:
    found = database.execute("SELECT number FROM epoch WHERE inventory = ?", (str(inventory.resolve()),)).fetchone()
    return int(found[0]) if found else 0


def _get_holder(database: sqlite3.Connection) -> str:
    """This control host's name: the machine's, and something that a second one of that name does not have."""
    found = database.execute("SELECT name FROM holder").fetchone()
    if found is None:
        found = (f"{socket.gethostname()}-{secrets.token_hex(4)}",)
        database.execute("INSERT INTO holder VALUES (?)", found)
    return str(found[0])
