"""Remembers for a day that a bundle was proven, so that a deploy need not hash hundreds of gigabytes to change nothing.

What is remembered is not the bundle but how every file of it looks to the kernel: its inode, size, and the times of
its last change. The kernel sets the latter (ctime) whenever content, name, owner or mode change, and no program can set
it back; who can get around that owns this control host, and with it the list of signers and this very program. A disk
that rots unseen in that day is found on the servers: each hashes what reaches it against the signed sums.
docs/decisions/0011 has the reasons.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

DAY = 24 * 3600.0
# A file that changed in the same tick of the kernel's clock as it was looked at would look the same.
SETTLED = 2.0  # seconds
# Where the kernel keeps ctime. Not on a stick that was formatted elsewhere (vfat, exfat), not over a network.
KINDS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs"}


def find_folder() -> Path:
    """Where this control host remembers: the machine's folder for root, else this account's."""
    state = Path("/var/lib/dsops-control") if os.geteuid() == 0 else Path.home() / ".local/state/dsops"
    return state / "proven"


def prove_once(bundle: Path, prove: Callable[[], None], *, key: str, folder: Path, settled: float = SETTLED) -> None:
    """Runs `prove`, which raises unless the bundle is whole, or does not when it was run for all as it is now.

    key: what the proof depends on besides the bundle's files: who may sign, and for what
    settled: seconds since the bundle's last change, less than which nothing is remembered
    """
    before = find_looks(bundle, key, settled=settled)
    if before and is_remembered(folder, before):
        return
    prove()
    if before and before == find_looks(bundle, key, settled=settled):
        with suppress(OSError):  # next time it is proven again
            remember(folder, before)


def find_looks(bundle: Path, key: str, *, settled: float = SETTLED) -> str:
    """A digest of how every file and folder looks; empty when that would say too little."""
    digest = hashlib.sha256(key.encode())
    newest, devices = 0.0, set()
    try:
        for path, found in _walk(bundle):
            newest = max(newest, found.st_ctime)
            devices.add(found.st_dev)
            row = (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_size)
            digest.update(repr((path, *row, found.st_mtime_ns, found.st_ctime_ns)).encode())
        is_settled = newest + settled < time.time()
        return digest.hexdigest() if is_settled and all(_keeps_ctime(one) for one in devices) else ""
    except OSError:
        return ""


def is_remembered(folder: Path, looks: str) -> bool:
    """Whether this account proved it within a day; what others could have written does not count."""
    try:
        held, mark = folder.lstat(), (folder / looks).lstat()
    except OSError:
        return False
    is_ours = held.st_uid == mark.st_uid == os.geteuid() and not held.st_mode & 0o022
    return is_ours and 0 <= time.time() - mark.st_mtime < DAY


def remember(folder: Path, looks: str) -> None:
    """Leaves an empty file of that name; takes those away that no longer count."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for other in folder.iterdir():
        if not is_remembered(folder, other.name):
            other.unlink()
    mark = folder / looks
    mark.unlink(missing_ok=True)
    mark.touch(mode=0o600)


def _walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """The folder itself and all below it, in one order."""
    yield str(folder.resolve()), folder.stat()
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
            else:
                yield entry.name, entry.stat(follow_symlinks=False)


def _keeps_ctime(device: int) -> bool:
    number = f"{os.major(device)}:{os.minor(device)}"
    rows = (row.split() for row in Path("/proc/self/mountinfo").read_text().splitlines())
    kinds = {row[row.index("-") + 1] for row in rows if row[2] == number}
    return bool(kinds) and kinds <= KINDS
