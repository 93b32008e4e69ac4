"""How fast the store's disk is read: a file of its own, written, read past the page cache, and removed."""

import mmap
import os
import threading
import time
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.desk import Desk
from dsops.node.store.disk import on_disk

MIB = 1 << 20
PIECE = 8 * MIB
MOST_MIB = 8192
# Of writing, and of reading: a disk so slow need not be read to the end to know it.
SECONDS = 20.0
# What stays free beside it, as a share of the file.
BESIDE = 1.0
_ONE = threading.Lock()


def read_disk(desk: Desk, asked: Asked) -> Answer:
    """{bytes, seconds, direct} of reading. Raises DsopsError: no room, or somebody measures already."""
    mib = asked.request.get_number("mib")
    if not 8 <= mib <= MOST_MIB:
        raise DsopsError(f"mib is {mib}, not 8 to {MOST_MIB}", where="read_disk")
    if not _ONE.acquire(blocking=False):
        raise DsopsError("the disk is being measured already", mend="wait for it")
    try:
        _check_room(desk, mib * MIB)
        path = desk.config.root / "staging" / f"accept-{os.urandom(4).hex()}"
        with on_disk(path):
            try:
                size = _write(path, mib * MIB)
                return _read(path, size)
            finally:
                path.unlink(missing_ok=True)
    finally:
        _ONE.release()


def _check_room(desk: Desk, size: int) -> None:
    free = desk.blobs.count_free()
    if free < size * (1 + BESIDE):
        what = f"the store's disk has {free / 1e9:.1f} GB free, and reading it is measured with {size / 1e9:.1f} GB"
        raise DsopsError(what, where="storage", mend="free some, or a smaller accept_storage_mib")


def _write(path: Path, size: int) -> int:
    """Bytes written within the time. What no disk can make smaller."""
    piece, done, end = os.urandom(PIECE), 0, time.monotonic() + SECONDS
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while done < size and (not done or time.monotonic() < end):
            piece = done.to_bytes(8, "big") + piece[8:]
            done += os.write(fd, piece[: min(PIECE, size - done)])
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    return done


def _read(path: Path, size: int) -> Answer:
    """Past the page cache where the file system can; else it says that it was not."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd, is_direct = os.open(path, flags | os.O_DIRECT), True
    except OSError:
        fd, is_direct = os.open(path, flags), False
    try:
        with mmap.mmap(-1, PIECE) as room:
            begin, done = time.monotonic(), 0
            while done < size and time.monotonic() < begin + SECONDS:
                count = os.preadv(fd, [room], done)
                if not count:
                    break
                done += count
            return {"bytes": done, "seconds": time.monotonic() - begin, "direct": is_direct}
    finally:
        os.close(fd)
