"""Reads how busy the disks below some paths are, out of /proc/diskstats: also while one of them hangs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dsops.node.sources.storage import find_mount
from dsops.node.sources.unread import Unread, attempt, read_int, read_text


@dataclass(frozen=True)
class Disk:
    """The block device below a path. in_flight: what it was asked and has not answered."""

    name: str
    in_flight: int
    is_rotational: bool
    done: int
    wait_ms: int
    busy_ms: int


def read_disks(root: Path, paths: Iterable[str]) -> Mapping[str, Disk | Unread]:
    """path -> its disk. Of a file system that is on no block device of this server: missing."""
    mounts, stats = read_text(root / "proc/self/mountinfo"), read_text(root / "proc/diskstats")
    found: dict[str, Disk | Unread] = {}
    for path in paths:
        if isinstance(mounts, Unread) or isinstance(stats, Unread):
            found[path] = mounts if isinstance(mounts, Unread) else stats  # type: ignore[assignment]
        else:
            found[path] = _find_disk(root, path, mounts, stats)
    return found


def count_disks(disks: Mapping[str, Disk | Unread]) -> dict[str, int | Unread]:
    """Counters `disk/PATH/...`: done requests, milliseconds that they took, milliseconds in which there were any."""
    found: dict[str, int | Unread] = {}
    for path, disk in disks.items():
        for key in ("done", "wait_ms", "busy_ms"):
            found[f"disk{path}/{key}"] = disk if isinstance(disk, Unread) else getattr(disk, key)
    return found


def _find_disk(root: Path, path: str, mounts: str, stats: str) -> Disk | Unread:
    mount = attempt(lambda: find_mount(mounts, path))
    if isinstance(mount, Unread):
        return mount
    rows = [line.split() for line in stats.splitlines()]
    fitting = [row for row in rows if ":".join(row[:2]) == mount.device] or [
        row for row in rows if len(row) > 2 and f"/dev/{row[2]}" == mount.source
    ]
    if not fitting:
        return Unread(f"{path} lies on no disk of its own: {mount.source}", is_missing=True)
    return attempt(lambda: _parse(root, fitting[0]))


def _parse(root: Path, row: list[str]) -> Disk:
    """Raises ValueError or IndexError when the kernel says less than that."""
    reads, read_ms, writes, write_ms, in_flight, busy_ms = (int(row[place]) for place in (3, 6, 7, 10, 11, 12))
    name = row[2]
    return Disk(name, in_flight, _is_rotational(root, name), reads + writes, read_ms + write_ms, busy_ms)


def _is_rotational(root: Path, name: str) -> bool:
    """A partition's is its disk's. What cannot be read counts as a disk that turns: it may take longer."""
    folder = root / "sys/class/block" / name
    found = [read_int(place / "queue/rotational") for place in (folder, folder / "..")]
    return next((number for number in found if not isinstance(number, Unread)), 1) != 0
