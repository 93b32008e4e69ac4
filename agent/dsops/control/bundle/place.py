"""The folder where bundles are made: one builder at a time, nothing half stays, and what the disk refuses in words."""

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile, rmtree

from dsops.control.bundle.verify import walk
from dsops.core.errors import DsopsError

MENDS = {
    errno.ENOSPC: "make room there (df -h), and run this again: nothing half was left",
    errno.EDQUOT: "make room there (quota), and run this again: nothing half was left",
    errno.EROFS: "choose a folder that can be written (--out, --cache)",
    errno.EACCES: "choose a folder that you may write (--out, --cache), or become its owner",
    errno.EPERM: "choose a folder that you may write (--out, --cache), or become its owner",
}


@contextmanager
def told_in_words(where: Path) -> Iterator[None]:
    """Makes a full disk, or one that must not be written, a DsopsError. Other errors of the system are bugs."""
    try:
        yield
    except OSError as error:
        if error.errno not in MENDS:
            raise
        place = str(error.filename2 or error.filename or where)
        raise DsopsError(error.strerror or "cannot be written", where=place, mend=MENDS[error.errno]) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds `folder` for this builder. Raises DsopsError when another one has it; a killed one holds nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DsopsError("another build is running here", where=str(folder), mend="wait for its end") from error
        yield


@contextmanager
def workplace(out: Path) -> Iterator[Path]:
    """A folder in `out` that is gone afterwards, whatever happens; what a killed run left goes first."""
    work = out / ".building"
    _remove(work)
    work.mkdir(parents=True)
    try:
        yield work
    finally:
        _remove(work)


def settle(work: Path, final: Path) -> None:
    """Gives `work` its final name; what had that name goes."""
    old = final.with_name(f".{final.name}.old")
    _remove(old)
    if final.exists():
        final.rename(old)
    work.rename(final)
    _remove(old)


def point(link: Path, target: str) -> None:
    """Makes the link lead to `target`, at once."""
    new = link.with_name(link.name + ".new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


def copy_tree(source: Path, out: Path) -> None:
    """Copies a folder of plain files. Raises DsopsError when it holds anything else."""
    for name, file in walk(source):
        copy_file(file, out / name)


def copy_file(file: Path, target: Path) -> None:
    """Copies one file; programs stay programs, and everybody may read it, whatever the umask."""
    target.parent.mkdir(parents=True, exist_ok=True)
    copyfile(file, target)
    target.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)


def _remove(folder: Path) -> None:
    if folder.exists():
        rmtree(folder)
