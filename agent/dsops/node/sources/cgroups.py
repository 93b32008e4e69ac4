"""Reads what memory the processes of a unit have for themselves, of its control group: other users' /proc is hidden."""

from dataclasses import dataclass
from pathlib import Path

from dsops.node.sources.unread import Unread, parse_int, read_text

# Memory that no file stands behind, and that of /dev/shm; the page cache goes when somebody needs room.
_OWN = ("anon", "shmem")
_UNLIMITED = "max"


@dataclass(frozen=True)
class Use:
    """In bytes, of all processes of the unit. most: what it may have, None: all that there is."""

    own: int
    most: int | None = None


def read_use(root: Path, cgroup: str) -> Use | Unread:
    """cgroup: as systemd names it, "" when it does not. Only in the unified hierarchy."""
    if not cgroup:
        return Unread("systemd names no control group", is_missing=True)
    folder = root / "sys/fs/cgroup" / cgroup.lstrip("/")
    own, most = _read_own(folder / "memory.stat"), _read_most(folder / "memory.max")
    if isinstance(own, Unread):
        return own
    return most if isinstance(most, Unread) else Use(own, most)


def _read_own(path: Path) -> int | Unread:
    text = read_text(path)
    if isinstance(text, Unread):
        return text
    found = dict(line.split(maxsplit=1) for line in text.splitlines() if " " in line)
    total = 0
    for key in _OWN:
        if key not in found:
            return Unread(f"{path}: no line of {key}")
        number = parse_int(found[key], where=path)
        if isinstance(number, Unread):
            return number
        total += number
    return total


def _read_most(path: Path) -> int | Unread | None:
    text = read_text(path)
    if isinstance(text, Unread):
        return text
    return None if text.strip() == _UNLIMITED else parse_int(text, where=path)
