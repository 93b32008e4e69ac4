"""The store's one door to the disk: every operation that changes it, so that a test can fail, record or cut each."""

import errno
import fcntl
import hashlib
import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dsops.core.errors import DsopsError

CHUNK = 1 << 20
Tick = Callable[[int], None]


class Disk:
    """Thin names for system calls. All raise OSError; none hides one."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """A file descriptor; never through a link at the end of the path."""
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        """All of the data, at an offset."""
        view = memoryview(data)
        while view:
            done = os.pwrite(fd, view, offset)
            view, offset = view[done:], offset + done

    def read(self, fd: int, count: int, offset: int) -> bytes:
        """Bytes at an offset; what was read leaves the page cache again, which is for the release that serves."""
        data = os.pread(fd, count, offset)
        os.posix_fadvise(fd, offset, len(data), os.POSIX_FADV_DONTNEED)
        return data

    def truncate(self, fd: int, size: int) -> None:
        """A file that ends there."""
        os.ftruncate(fd, size)

    def drop_cache(self, fd: int) -> None:
        """What is only remembered from writing is forgotten, where it can be: reading asks the disk itself then."""
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def chmod(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)

    def chown_own(self, fd: int) -> None:
        """To the user that we are (root, but in tests); mostly it is that already, and nothing is asked."""
        seen = os.fstat(fd)
        if (seen.st_uid, seen.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(fd, os.geteuid(), os.getegid())

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def link(self, source: Path, target: Path) -> None:
        """A second name for a file."""
        target.hardlink_to(source)

    def symlink(self, path: Path, target: str) -> None:
        path.symlink_to(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def mkdir(self, path: Path) -> None:
        """A folder that all may read, whatever the umask."""
        path.mkdir()
        path.chmod(0o755)

    def rmdir(self, path: Path) -> None:
        path.rmdir()

    def sync_folder(self, path: Path) -> None:
        """Makes the names in a folder last."""
        with self.opened(path, os.O_RDONLY | os.O_DIRECTORY) as fd:
            self.fsync(fd)

    @contextmanager
    def opened(self, path: Path, flags: int, mode: int = 0o600) -> Iterator[int]:
        """A file descriptor that is closed again."""
        fd = self.open(path, flags, mode)
        try:
            yield fd
        finally:
            os.close(fd)

    def write_file(self, path: Path, data: bytes, *, mode: int = 0o444) -> None:
        """A whole new small file that lasts (its name does after sync_folder)."""
        with self.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            self.write(fd, data, 0)
            self.chmod(fd, mode)
            self.fsync(fd)

    def remove_tree(self, path: Path) -> None:
        """A folder with all in it; links are removed, not followed."""
        for child in sorted(path.iterdir()):
            if child.is_dir() and not child.is_symlink():
                self.remove_tree(child)
            else:
                self.unlink(child)
        self.rmdir(path)


def count_nothing(count: int) -> None:
    """For whoever does not want to know how far it is."""


def hash_file(fd: int, *, tick: Tick = count_nothing) -> str:
    """sha256 in hex of a file. tick hears the bytes that were read."""
    digest = hashlib.sha256()
    offset = 0
    while data := os.pread(fd, CHUNK, offset):
        digest.update(data)
        offset += len(data)
        tick(len(data))
    return digest.hexdigest()


def hash_slowly(path: Path, *, rest: Callable[[int], None]) -> str:
    """sha256 in hex of a file as the disk itself has it now. rest hears the bytes so far, and may take its time.

    The page cache is neither asked nor filled, where the file system can do that: it may still hold what has rotted
    below it, and it is for the release that serves. Raises OSError.
    """
    digest, offset = hashlib.sha256(), 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with mmap.mmap(-1, CHUNK) as room:  # reads past the cache want a place that begins with a page
            _ask_disk(fd, room)
            while count := os.preadv(fd, [room], offset):
                digest.update(room[:count])
                offset += count
                rest(offset)
    finally:
        os.close(fd)
    return digest.hexdigest()


def _ask_disk(fd: int, room: mmap.mmap) -> None:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    try:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT)
        os.preadv(fd, [room], 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fcntl.fcntl(fd, fcntl.F_SETFL, flags)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def is_open(path: Path) -> bool:
    """Whether a process has the file open, or mapped: the kernel refuses a lease then. Asks without any privilege.

    False where the file system knows no leases.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # who opens it just now breaks the lease: SIGIO would end us
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return False


@contextmanager
def on_disk(where: Path, *, mend: str = "") -> Iterator[None]:
    """What is done in it fails in our own words when the disk does."""
    try:
        yield
    except OSError as error:
        raise tell_os_error(error, where=where, mend=mend) from error


def tell_os_error(error: OSError, *, where: Path, mend: str = "") -> DsopsError:
    """An error of the disk, with what to do about it."""
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        mend = "make room: `dsops node release list`, then `dsops node release remove ID`"
        return DsopsError("the disk is full", where=str(where), mend=mend)
    mend = mend or "look at the disk: `dsops node logs`, `dmesg`"
    return DsopsError(f"the disk refuses: {error.strerror or error}", where=str(where), mend=mend)
