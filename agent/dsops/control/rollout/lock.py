"""The lock of an inventory's rollout: one controller at a time, who it is, and how a person breaks it.

The kernel holds it (flock), so it is free the moment its process is dead, whatever the file says. It only keeps two
controllers from getting in each other's way: what makes a second one harmless is the epoch, which nodes check.
"""

import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from dsops.control.fleet.epoch import MEND
from dsops.core.decode import decode
from dsops.core.errors import DsopsError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROC = Path("/proc")
# Somebody who only looks holds it for microseconds; a holder for as long as a rollout takes.
TRIES, PAUSE = 20, 0.02


@dataclass(frozen=True)
class Holder:
    """Who holds it, by their own words. since: Unix seconds. held: the kernel says so now."""

    inventory: str
    pid: int
    host: str
    boot_id: str
    since: float
    who: str
    what: str
    held: bool = False


def find_lock(folder: Path, inventory: Path) -> Path:
    """One file an inventory; its name says which, for people and for the machine."""
    path = inventory.resolve()
    return folder / f"rollout-{path.stem}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}.lock"


@contextmanager
def hold_rollout(folder: Path, inventory: Path, *, who: str, what: str) -> Iterator[Path]:
    """Held while the body runs. Raises DsopsError that names the holder, when there is one."""
    path = find_lock(folder, inventory)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _take(path)
    except OSError as error:
        raise DsopsError(f"cannot be written ({error.strerror})", where=str(path), mend=MEND) from error
    with lock:
        here = (os.getpid(), socket.gethostname(), read_boot_id(), time.time())
        lock.truncate(0)
        lock.write(json.dumps(asdict(Holder(str(inventory.resolve()), *here, who, what))) + "\n")
        lock.flush()
        yield path


def read_holder(path: Path) -> Holder | None:
    """Who holds it, or held it last; None when nobody ever did. Takes nothing, not even for a moment."""
    try:
        with path.open() as lock:
            holder = _parse(lock.read(), path)
            is_held = _is_held(lock)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(path), mend=MEND) from error
    return replace(holder, held=is_held)


def find_holders(folder: Path) -> list[tuple[Path, Holder]]:
    """All of this control host."""
    found = [(path, read_holder(path)) for path in sorted(folder.glob("rollout-*.lock"))]
    return [(path, holder) for path, holder in found if holder]


def break_lock(path: Path) -> None:
    """The next one gets a new file. Whoever holds the old one must be fenced off by an epoch first."""
    path.unlink(missing_ok=True)


def describe_holder(holder: Holder) -> str:
    """Who, where, and whether that process is alive."""
    here = holder.host == socket.gethostname() and holder.boot_id == read_boot_id()
    state = find_process_state(holder.pid) if here else ""
    words = {"": "", "T": ", which is stopped", "Z": ", which has ended"}
    return f"process {holder.pid} of {holder.who} on {holder.host}{words.get(state, '')}"


def find_process_state(pid: int, proc: Path = PROC) -> str:
    """One letter of the kernel's: R runs, S sleeps, T is stopped; Z where there is none any more."""
    try:
        return (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
    except (OSError, LookupError):
        return ""


def read_boot_id() -> str:
    """Which boot of this machine it is, "" when it does not say."""
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return ""


def _take(path: Path) -> IO[str]:
    for _ in range(TRIES):
        lock = path.open("a+")
        if _try_lock(lock) and _is_same(lock, path):
            return lock
        lock.close()  # held; or broken between the two, and the next file counts
        time.sleep(PAUSE)
    raise _held(path)


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same(lock: IO[str], path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    own = os.fstat(lock.fileno())
    return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)


def _is_held(lock: IO[str]) -> bool:
    """Asked with a shared lock, which is given back at once: two that ask do not disturb each other."""
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(lock, fcntl.LOCK_UN)
    return False


def _parse(text: str, path: Path) -> Holder:
    try:
        return decode(Holder, json.loads(text), where=str(path))
    except (ValueError, DsopsError):  # it was just taken, and its holder has not written yet
        return Holder("", 0, "", "", 0.0, "somebody", "")


def _held(path: Path) -> DsopsError:
    holder = read_holder(path)
    who = describe_holder(holder) if holder else "somebody"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since)) if holder else "?"
    mend = "`dsops rollout status` shows it; `dsops rollout pause` or `abort` are heard by it; see `dsops lock ls`"
    return DsopsError(f"a rollout is being run by {who}, since {since}", where=str(path), mend=mend)
