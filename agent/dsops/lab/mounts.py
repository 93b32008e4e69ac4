"""Mounts and loop devices, read from the kernel: what is mounted, and how all of it below a folder goes."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab.run import read, run


@dataclass(frozen=True)
class Mount:
    point: Path
    kind: str
    source: str
    options: str  # of the file system, e.g. overlay's upperdir


def parse_mountinfo(text: str) -> list[Mount]:
    """In the kernel's order: a later mount lies over an earlier one. Source: proc_pid_mountinfo(5)."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split(" ", 2)
        if len(fields) >= 6 and len(rest) == 3:
            mounts.append(Mount(Path(_unescape(fields[4])), rest[0], _unescape(rest[1]), _unescape(rest[2])))
    return mounts


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def get_mounts() -> list[Mount]:
    return parse_mountinfo(read(Path("/proc/self/mountinfo")))


def is_mounted(point: Path) -> bool:
    return any(mount.point == point for mount in get_mounts())


def mounts_below(folder: Path) -> list[Path]:
    return [mount.point for mount in get_mounts() if mount.point.is_relative_to(folder)]


def unmount_below(folder: Path, *, patience: float = 5) -> int:
    """Take away every mount at or below the folder, last one first; the number of mounts taken away."""
    count, until = 0, time.monotonic() + patience
    while points := mounts_below(folder):
        try:
            run(["umount", points[-1]])
            count += 1
        except DsopsError as error:
            if time.monotonic() > until:
                raise DsopsError(
                    f"{points[-1]} cannot be unmounted: {error.what}",
                    mend=f"see who is in it with `fuser -vm {points[-1]}`, end that, and repeat",
                ) from None
            time.sleep(0.1)
    return count


def find_loops(folder: Path) -> list[str]:
    """Loop devices whose file lies below the folder, also when that file is deleted."""
    loops = []
    for link in Path("/sys/block").glob("loop*/loop/backing_file"):
        backing = read(link).strip().removesuffix(" (deleted)")
        if backing and Path(backing).is_relative_to(folder):
            loops.append(f"/dev/{link.parts[3]}")
    return loops


def detach_loops(folder: Path) -> int:
    """A loop device frees itself with its mount; what is left was cut off between the two."""
    loops = find_loops(folder)
    for loop in loops:
        run(["losetup", "-d", loop], check=False)
    return len(loops)


def remove_tree(folder: Path) -> None:
    """Delete a folder; refuses while something is mounted below, whose files would be deleted too."""
    if not folder.exists():
        return
    if points := mounts_below(folder):
        raise DsopsError(f"{folder} is not deleted: {points[0]} is still mounted", mend=f"umount {points[0]}")
    shutil.rmtree(folder)
