"""What is known of earlier boots: when they were, and whether the last one ended in a panic."""

from collections.abc import Mapping
from pathlib import Path

from dsops.node.sources.unread import Unread, attempt

DAY = 86400.0
KEPT = 32
# What systemd-pstore moves at the beginning of a boot is as young as the boot; clocks are set about then.
EARLY_SECONDS = 120.0


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
