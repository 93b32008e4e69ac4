"""Saves what a control host must not forget into one file, and brings it back so that nodes believe it again."""

import hashlib
import io
import json
import os
import secrets
import socket
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from dsops.control.fleet.epoch import FILE, LOCK, WAIT_SECONDS, connect, hold_file
from dsops.control.rollout.lock import describe_holder, find_holders
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.node import EPOCH_JUMP

FORMAT, NOTE = 1, "backup.json"
# Commands that were given after the backup was made took numbers that it does not know. Half of what a node lets a
# number jump: so many commands may be missing, and a node that heard none of them lately still believes it.
RAISE = EPOCH_JUMP // 2
LEFT_OUT = (".lock", ".log", "-wal", "-shm", ".new")
ASIDE = ".before-restore"
LIMIT = 1 << 30


@dataclass(frozen=True)
class Sum:
    """One file of a backup."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Backup:
    """What a backup says of itself. epochs: "number inventory", the last that were taken then."""

    made_at: float
    host: str
    who: str
    files: tuple[Sum, ...]
    epochs: tuple[str, ...] = ()
    format: int = FORMAT


@dataclass(frozen=True)
class Restored:
    """What a restore did. epochs: inventory -> the number that counts now. active: rollouts that were under way."""

    backup: Backup
    holder: str
    epochs: Mapping[str, int]
    active: tuple[str, ...]


def back_up(folder: Path, file: Path, *, who: str, at: float) -> Backup:
    """A consistent copy while others go on working. Written whole or not at all. Raises DsopsError."""
    if not (folder / FILE).is_file():
        raise DsopsError("there is nothing to save: no epoch was ever taken here", where=str(folder))
    with tempfile.TemporaryDirectory() as scratch:
        contents = {name: _read(folder / name, Path(scratch)) for name in find_files(folder)}
        epochs = tuple(f"{number} {name}" for name, number in _read_epochs(contents[FILE], Path(scratch)).items())
    sums = tuple(Sum(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in sorted(contents.items()))
    backup = Backup(at, socket.gethostname(), who, sums, epochs)
    note = json.dumps(asdict(backup), indent=1, ensure_ascii=False).encode()
    _write_tar(file, {NOTE: note, **contents}, at=at)
    return backup


def find_files(folder: Path) -> list[str]:
    """All that is state: neither locks nor logs of rollouts, nor what an earlier restore put aside."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(str(name) for name in files if not name.name.endswith(LEFT_OUT) and ASIDE not in str(name))


def read_backup(file: Path) -> tuple[Backup, dict[str, bytes]]:
    """The backup and its files, each as it was summed. Raises DsopsError when it is none, or was damaged."""
    try:
        with tarfile.open(file) as tar:
            contents = dict(_read_members(tar, file))
        backup = decode(Backup, json.loads(contents.pop(NOTE)), where=f"{file}: {NOTE}")
    except KeyError as error:
        raise DsopsError(f"this is no backup of a control host: it has no {NOTE}", where=str(file)) from error
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        mend = "give a file that `dsops backup` made"
        raise DsopsError(f"cannot be read as a backup ({error})", where=str(file), mend=mend) from error
    if backup.format != FORMAT:
        raise DsopsError(f"backup format {backup.format} is not known", where=str(file), mend="use a newer dsops")
    _check_sums(backup, contents, file)
    return backup, contents


def restore(folder: Path, file: Path, *, replace: bool, at: float) -> Restored:
    """Brings a backup back under a new name of this control host, its epochs raised. Raises DsopsError."""
    backup, contents = read_backup(file)
    there = find_files(folder) if folder.is_dir() else []
    if there and not replace:
        mend = "add --replace, which puts what is there aside; or give another folder as --state"
        raise DsopsError(f"there is state already: {', '.join(there)}", where=str(folder), mend=mend)
    if held := [holder for _, holder in find_holders(folder) if holder.held]:
        raise DsopsError(f"a rollout is being run by {describe_holder(held[0])}", mend="end it first: `dsops lock ls`")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with hold_file(folder / LOCK, wait=WAIT_SECONDS):
            return _bring_back(folder, backup, contents, there=there, at=at)
    except OSError as error:
        raise DsopsError(f"cannot be written ({error.strerror})", where=str(folder), mend="is it yours?") from error


def _bring_back(
    folder: Path, backup: Backup, contents: Mapping[str, bytes], *, there: list[str], at: float
) -> Restored:
    """The epochs last: whoever is cut off before has no epochs, or the old ones, and says so."""
    with tempfile.TemporaryDirectory(dir=folder, suffix=".new") as scratch:
        old = _find_epochs(folder / FILE, Path(scratch)) if FILE in there else {}
        made = Path(scratch) / "raised.db"
        made.write_bytes(contents[FILE])
        restored = _raise_epochs(made, backup, old, at=at)
        final = made.read_bytes()
    _put_aside(folder, there, at=at)
    for name, data in sorted(contents.items(), key=lambda item: item[0] == FILE):
        _write_file(folder / name, final if name == FILE else data)
    return restored


def _raise_epochs(made: Path, backup: Backup, old: Mapping[str, int], *, at: float) -> Restored:
    """A new name, so that the host that the backup is of, should it still run, is told from this one."""
    holder = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    says = f"the control host was restored from a backup of {render_time(backup.made_at)}"
    with closing(connect(made)) as database, database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM holder")
        database.execute("INSERT INTO holder VALUES (?)", (holder,))
        epochs = {name: max(number + RAISE, old.get(name, 0) + 1) for name, number in _select(database).items()}
        epochs |= {name: number for name, number in old.items() if name not in epochs}
        database.executemany("REPLACE INTO epoch VALUES (?, ?)", epochs.items())
        active = _tell_active(database, says, at=at)
    with closing(sqlite3.connect(made)) as database:
        database.execute("PRAGMA journal_mode=DELETE")  # so that the file alone is all of it
    return Restored(backup, holder, epochs, active)


def _tell_active(database: sqlite3.Connection, says: str, *, at: float) -> tuple[str, ...]:
    """Rollouts that were under way stay so, without a controller: a person looks, and resumes or aborts them."""
    tables = {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "rollout" not in tables:
        return ()
    rows = database.execute("SELECT id, release, inventory FROM rollout WHERE ended IS NULL").fetchall()
    database.executemany("INSERT INTO told VALUES (?, ?, 'dsops', ?)", [(number, at, says) for number, _, _ in rows])
    return tuple(f"rollout {number} of {release} ({inventory})" for number, release, inventory in rows)


def _select(database: sqlite3.Connection) -> dict[str, int]:
    return {str(name): int(number) for name, number in database.execute("SELECT inventory, number FROM epoch")}


def _find_epochs(path: Path, scratch: Path) -> dict[str, int]:
    """Nothing from a spoilt file: restoring is how to mend it."""
    try:
        return _read_epochs(_read(path, scratch), scratch)
    except DsopsError:
        return {}


def _read_epochs(content: bytes, scratch: Path) -> dict[str, int]:
    copy = scratch / f"{secrets.token_hex(4)}.db"
    copy.write_bytes(content)
    with closing(sqlite3.connect(copy)) as database:
        return _select(database)


def _read(path: Path, scratch: Path) -> bytes:
    """A database by SQLite's own backup, so that no transaction is cut in half. Raises DsopsError."""
    if path.suffix != ".db":
        return path.read_bytes()
    copy = scratch / f"{secrets.token_hex(4)}.db"
    try:
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            said = str(target.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.DatabaseError as error:
        said = str(error)
    if said != "ok":
        mend = "restore an older backup: `dsops restore FILE --replace`"
        raise DsopsError(f"it is damaged, so it was not saved ({said})", where=str(path), mend=mend)
    return copy.read_bytes()


def _write_tar(file: Path, contents: Mapping[str, bytes], *, at: float) -> None:
    new = file.with_name(f".{file.name}.new")
    try:
        with new.open("wb") as out:
            os.fchmod(out.fileno(), 0o600)
            with tarfile.open(fileobj=out, mode="w:gz") as tar:
                for name, data in contents.items():
                    entry = tarfile.TarInfo(name)
                    entry.size, entry.mtime, entry.mode = len(data), int(at), 0o600
                    tar.addfile(entry, io.BytesIO(data))
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise DsopsError(f"cannot be written ({error.strerror})", where=str(file), mend="give another FILE") from error


def _read_members(tar: tarfile.TarFile, file: Path) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        path = Path(member.name)
        if not member.isreg() or path.is_absolute() or ".." in path.parts or member.size > LIMIT:
            raise DsopsError(f"it holds {member.name!r}, which no backup does", where=str(file))
        stream = tar.extractfile(member)
        assert stream
        yield member.name, stream.read()


def _check_sums(backup: Backup, contents: Mapping[str, bytes], file: Path) -> None:
    sums = {one.path: one.sha256 for one in backup.files}
    for name in sorted(sums.keys() | contents.keys()):
        if name not in contents or hashlib.sha256(contents[name]).hexdigest() != sums.get(name):
            raise DsopsError(f"{name} in it is not what it was when the backup was made", where=str(file))
    if FILE not in contents:
        raise DsopsError(f"it holds no {FILE}", where=str(file))


def _put_aside(folder: Path, there: list[str], *, at: float) -> None:
    """The epochs first, which is what everybody asks for; nothing is thrown away."""
    aside = folder / f"{ASIDE}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(at))}"
    for name in sorted(there, key=lambda one: one != FILE):
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        if name == FILE:
            _settle(folder / name)
        (folder / name).replace(aside / name)


def _settle(file: Path) -> None:
    """What still stands in the write-ahead log goes into the file, and no log is left to be taken for the new one's."""
    try:
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.DatabaseError:
        pass
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    new.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def render_time(at: float) -> str:
    """As a person reads it, in the local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
