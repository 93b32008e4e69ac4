"""Reads the file systems that a node needs: whether they can be written, what is free, and the state of their RAID."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dsops.node.sources.unread import Unread, attempt, read_text

Statvfs = Callable[[str], os.statvfs_result]
# Made once and never written: there is nothing wrong when one is read-only.
_FIXED = ("squashfs", "erofs", "iso9660", "cramfs")
_ARRAY = re.compile(r"^(?P<name>md\S*) : (?P<what>.*)\n(?P<more>(?:[ \t]+.*\n?)*)", re.MULTILINE)
_MEMBERS = re.compile(r"\[(?P<wanted>\d+)/(?P<active>\d+)\]")


@dataclass(frozen=True)
class Space:
    """Free for an unprivileged writer. inodes None: the file system has no fixed number of them."""

    free: int
    total: int
    inodes_free: int | None = None
    inodes: int | None = None


@dataclass(frozen=True)
class Place:
    """A path and the file system in which it lies. wants_mount, is_mount: one of its own."""

    path: str
    wants_mount: bool
    is_readonly: bool | Unread
    is_mount: bool
    space: Space | Unread


@dataclass(frozen=True)
class Mount:
    """What is mounted on a point. is_readonly: the file system itself. device: MAJOR:MINOR; source: as it was named."""

    point: str
    is_readonly: bool
    device: str = ""
    source: str = ""


@dataclass(frozen=True)
class Array:
    """One array of Linux's software RAID. says: what is wrong, "" when nothing is."""

    name: str
    says: str


def read_places(root: Path, paths: Mapping[str, bool], *, statvfs: Statvfs = os.statvfs) -> tuple[Place, ...]:
    """paths: each with whether it wants a file system of its own. Blocking, and on a dying disk for ever.

    What the agent's own sandbox made read-only for it does not count.
    """
    text = read_text(root / "proc/self/mountinfo")
    return tuple(
        _read_place(root, path, wants_mount=wants, mounts=text, statvfs=statvfs) for path, wants in paths.items()
    )


def _read_place(root: Path, path: str, *, wants_mount: bool, mounts: str | Unread, statvfs: Statvfs) -> Place:
    found = mounts if isinstance(mounts, Unread) else attempt(lambda: find_mount(mounts, path))
    space = attempt(lambda: read_space(root / path.lstrip("/"), statvfs=statvfs))
    if isinstance(found, Unread):
        return Place(path, wants_mount, found, is_mount=False, space=space)
    return Place(path, wants_mount, found.is_readonly, is_mount=found.point == path, space=space)


def find_mount(mountinfo: str, path: str) -> Mount:
    """The mount that holds a path. Raises ValueError when there is none.

    The options behind the dash are the file system's, and change when the kernel stops writing to a broken disk; those
    before it are only how this process sees the mount.
    """
    best: Mount | None = None
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, (kind, source, options) = left.split(), right.split(maxsplit=2)
        point = fields[4].encode().decode("unicode_escape")
        if is_below(path, point) and (best is None or len(point) >= len(best.point)):
            best = Mount(point, "ro" in options.split(",") and kind not in _FIXED, fields[2], source)
    if best is None:
        raise ValueError(f"no mount holds {path}")
    return best


def is_below(path: str, point: str) -> bool:
    return point == "/" or path == point or path.startswith(f"{point}/")


def read_space(path: Path, *, statvfs: Statvfs) -> Space:
    """Raises OSError."""
    seen = statvfs(str(path))
    free, total = seen.f_bavail * seen.f_frsize, seen.f_blocks * seen.f_frsize
    return Space(free, total, seen.f_favail, seen.f_files) if seen.f_files else Space(free, total)


def read_arrays(root: Path) -> tuple[Array, ...] | Unread:
    text = read_text(root / "proc/mdstat")
    return text if isinstance(text, Unread) else tuple(_find_array(found) for found in _ARRAY.finditer(text))


def _find_array(found: re.Match[str]) -> Array:
    what, more = found["what"], found["more"]
    members = _MEMBERS.search(more)
    if not what.startswith("active"):
        return Array(found["name"], f"is {what.split()[0]}")
    if "(F)" in what:
        return Array(found["name"], "has a failed disk")
    if members and int(members["active"]) < int(members["wanted"]):
        return Array(found["name"], f"has {members['active']} of {members['wanted']} disks")
    return Array(found["name"], "")
