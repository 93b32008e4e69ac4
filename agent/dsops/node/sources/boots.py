"""What is known of earlier boots: when they were, and whether the last one ended in a panic, or without a shutdown."""

import platform
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from dsops.node.sources.unread import Unread, attempt

DAY = 86400.0
KEPT = 32
# What systemd-pstore moves at the beginning of a boot is as young as the boot; clocks are set about then.
EARLY_SECONDS = 120.0
# A record of wtmp on x86-64, as utmp(5) has it: type, user, seconds. Older ones than those at its end are not needed.
_UTMP = struct.Struct("<h42x32s264xi40x")
_TAIL = 512 * _UTMP.size
_BOOT, _RUN_LEVEL = 2, 1
# systemd writes a boot's record as soon as /var is there; by then the clock may not have been set yet.
_NEAR_SECONDS = 600.0


def add_boot(kept: object, boot: str, *, began: float) -> dict[str, float]:
    """boot id -> when it began, Unix seconds, the latest last; what cannot be read is forgotten."""
    found = kept if isinstance(kept, Mapping) else {}
    boots = {str(name): float(at) for name, at in found.items() if isinstance(at, int | float)}
    if boot:
        boots.setdefault(boot, began)
    return dict(sorted(boots.items(), key=lambda one: one[1])[-KEPT:])


def read_panics(root: Path, *, began: float, before: float | None) -> int | Unread:
    """How many records the boot before this one left of its end. began, before: when this boot and that one began."""
    since = began - DAY if before is None else before
    fresh = attempt(lambda: _count(root / "sys/fs/pstore", "dmesg-*", since=since))
    moved = attempt(lambda: _count(root / "var/lib/systemd/pstore", "*", since=began - EARLY_SECONDS))
    for one in (fresh, moved):
        if isinstance(one, Unread) and not (one.is_missing or one.is_denied):
            return one
    told = [one for one in (fresh, moved) if not isinstance(one, Unread)]
    return sum(told) if told else fresh


def _count(folder: Path, pattern: str, *, since: float) -> int:
    list(folder.iterdir())  # globbing hides that it may not be read
    return sum(path.stat().st_mtime >= since for path in folder.glob(pattern))


def read_crash(root: Path, *, began: float, machine: str = platform.machine()) -> bool | Unread:
    """Whether the boot before this one ended without a shutdown: power, a watchdog, a panic that nobody wrote down.

    systemd writes into wtmp when a boot begins and when it ends. began: this boot, in Unix seconds.
    """
    path = root / "var/log/wtmp"
    if machine != "x86_64":
        return Unread(f"{path}: its records have another form on {machine}", is_missing=True)
    marks = attempt(lambda: list(_read_marks(path)))
    if isinstance(marks, Unread):
        return marks
    if not marks or marks[-1][0] != _BOOT or abs(marks[-1][1] - began) > _NEAR_SECONDS:
        return Unread(f"{path} does not tell of this boot", is_missing=True)
    if len(marks) < 2:
        return Unread(f"{path} does not tell of a boot before this one", is_missing=True)
    return marks[-2][0] == _BOOT


def _read_marks(path: Path) -> Iterator[tuple[int, int]]:
    """(type, Unix seconds) of each boot and shutdown, the oldest first. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - size % _UTMP.size - _TAIL))
        content = file.read()
    for kind, user, seconds in _UTMP.iter_unpack(content[: len(content) // _UTMP.size * _UTMP.size]):
        if kind == _BOOT or (kind == _RUN_LEVEL and user.rstrip(b"\0") == b"shutdown"):
            yield kind, seconds
