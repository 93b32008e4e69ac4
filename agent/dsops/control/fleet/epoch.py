"""This control host's place in line: every command that moves releases takes the next number of its inventory.

Epochs, rollouts, halts and orders lie in one file (`epochs.db`, named when it held nothing else), so that "no rollout
is active, the fleet is not halted, this is the next number, and this rollout has it" is one transaction, and a backup
one consistent copy. A rollout whose file were another one could come back from a backup with a number that is not
its own any more.
"""

import fcntl
import json
import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

from dsops.core.errors import DsopsError
from dsops.core.state import Epoch

FILE, LOCK = "epochs.db", "epochs.lock"
MEND = "give another folder as --state (DSOPS_STATE), or become its owner"
# Whoever holds the file does so for milliseconds, unless it was stopped in the middle.
WAIT_SECONDS = 10.0
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


def take_epoch(folder: Path, *, inventory: Path, above: int = 0) -> Epoch:
    """The next number, and higher than `above`, on disk before it is told. Raises DsopsError.

    A node that knows a higher one refuses.
    """
    with open_state(folder) as database:
        return take_next(database, inventory, above=above)


def read_epoch(folder: Path, *, inventory: Path) -> Epoch:
    """The last number that was taken; 0 when none was. Raises DsopsError."""
    with open_state(folder) as database:
        return read_last(database, inventory)


def take_next(database: sqlite3.Connection, inventory: Path, *, above: int = 0) -> Epoch:
    """Within a transaction of `open_state`."""
    number = max(_read(database, inventory), above) + 1
    database.execute("REPLACE INTO epoch VALUES (?, ?)", (str(inventory.resolve()), number))
    return Epoch(number, get_holder(database))


def read_last(database: sqlite3.Connection, inventory: Path) -> Epoch:
    """Within a transaction of `open_state`."""
    return Epoch(_read(database, inventory), get_holder(database))


@contextmanager
def open_state(folder: Path, *, wait: float = WAIT_SECONDS) -> Iterator[sqlite3.Connection]:
    """One transaction on the database, for one process at a time, on disk when this ends (synchronous=FULL).

    Raises DsopsError: it cannot be read or written, or somebody holds it for longer than `wait` seconds.
    """
    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with hold_file(folder / LOCK, wait=wait), closing(connect(file)) as database, database:
            database.execute("BEGIN IMMEDIATE")
            yield database
    except OSError as error:
        raise DsopsError(f"cannot be written ({error.strerror})", where=str(folder), mend=MEND) from error
    except sqlite3.OperationalError as error:
        mend = "is the disk full, or read-only? Nothing is half written; try again"
        raise DsopsError(f"the epochs cannot be read or written ({error})", where=str(file), mend=mend) from error
    except sqlite3.DatabaseError as error:
        mend = f"move it away, and make the nodes believe the new one: `dsops epoch adopt NODE --reason ...` ({MEND})"
        raise DsopsError(f"the epochs cannot be read or written ({error})", where=str(file), mend=mend) from error


def connect(file: Path) -> sqlite3.Connection:
    """WAL, so that a reader never sees half a transaction; FULL, so that what was told survives a power cut."""
    database = sqlite3.connect(file, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def hold_file(
    path: Path,
    *,
    wait: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """The lock of a file. Raises DsopsError naming who holds it, when that lasts for more than `wait` seconds."""
    with path.open("a+") as lock:
        end = clock() + wait
        while not _try_lock(lock):
            if clock() >= end:
                raise _held(lock, path, wait=wait)
            sleep(0.01)
        lock.truncate(0)
        lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        lock.flush()
        yield


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _held(lock: IO[str], path: Path, *, wait: float) -> DsopsError:
    lock.seek(0)
    try:
        pid = int(json.loads(lock.read())["pid"])
    except (ValueError, LookupError, TypeError):
        return DsopsError(f"somebody has held this for more than {wait:g} s", where=str(path), mend=f"`fuser {path}`")
    what = f"process {pid} has held this for more than {wait:g} s: it was stopped in the middle"
    return DsopsError(what, where=str(path), mend=f"`kill -CONT {pid}`, or `kill -9 {pid}`: nothing is lost by either")


def _read(database: sqlite3.Connection, inventory: Path) -> int:
    found = database.execute("SELECT number FROM epoch WHERE inventory = ?", (str(inventory.resolve()),)).fetchone()
    return int(found[0]) if found else 0


def get_holder(database: sqlite3.Connection) -> str:
    """This control host's name: the machine's, and something that a second one of that name does not have."""
    found = database.execute("SELECT name FROM holder").fetchone()
    if found is None:
        found = (f"{socket.gethostname()}-{secrets.token_hex(4)}",)
        database.execute("INSERT INTO holder VALUES (?)", found)
    return str(found[0])
