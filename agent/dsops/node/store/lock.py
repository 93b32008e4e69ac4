"""The store's one writer: a lock on state/lock, with who holds it written inside."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dsops.core.errors import DsopsError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def hold_lock(root: Path, *, seconds: float = 30.0) -> Iterator[None]:
    """Waits for the lock, at most so long. Raises DsopsError that names the holder.

    The kernel frees it when its holder dies, so a left-over never blocks anybody.
    """
    path = root / "state/lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        _wait(fd, path, seconds=seconds)
        # For whoever looks; only the flock itself counts, so a full disk may spoil the words.
        with suppress(OSError):
            os.pwrite(fd, f"pid {os.getpid()} boot {_read_boot_id()}\n".ljust(64).encode(), 0)
        yield
    finally:
        os.close(fd)


def _wait(fd: int, path: Path, *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= end:
                holder = os.pread(fd, 64, 0).decode(errors="replace").strip() or "nobody who says so"
                what = f"the store is in use for {seconds:g} s already (by {holder})"
                raise DsopsError(what, where=str(path), mend="try again; `dsops node logs dsops-helper`") from error
        time.sleep(0.005)


def _read_boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"
