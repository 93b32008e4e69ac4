"""Looks how much of some files the page cache holds, and lets it forget them."""

import os
from collections.abc import Sequence
from pathlib import Path

# So many places are looked at in each file: enough for a share, and nothing that would fill the cache by looking.
PLACES = 64
PAGE = 4096


def find_cached(files: Sequence[Path]) -> float | None:
    """The share of their bytes that can be read without the disk, 0.0 to 1.0; None when nobody can say."""
    total, held = 0.0, 0.0
    for file in files:
        try:
            size = file.stat().st_size
            total, held = total + size, held + size * _look(file, size)
        except (OSError, AttributeError):
            return None
    return held / total if total else None


def forget(files: Sequence[Path]) -> None:
    """Asks the kernel to drop them; what some process has mapped stays."""
    for file in files:
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def list_files(release: Path) -> list[Path]:
    """What loading a release reads."""
    return sorted(path for path in release.rglob("*") if path.is_file())


def _look(file: Path, size: int) -> float:
    """The share of the places that come without waiting."""
    places = sorted({size * number // PLACES // PAGE * PAGE for number in range(PLACES)})
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # No reading ahead: it would bring in what is to be looked at next.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        return sum(_is_held(fd, place) for place in places) / len(places)
    finally:
        os.close(fd)


def _is_held(fd: int, place: int) -> bool:
    try:
        return os.preadv(fd, [bytearray(1)], place, os.RWF_NOWAIT) >= 0
    except BlockingIOError:
        return False
