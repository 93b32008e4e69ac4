"""Stops a slot and lets the kernel forget its release, so that its next start loads from the disk."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.helper.desk import Desk
from dsops.node.sources.cache import find_cached, forget, list_files

STOP_SECONDS = 120.0
# A process that is on its way out maps its files for a moment longer, and what is mapped cannot be dropped.
LAST_SECONDS = 3.0
LITTLE = 0.05


def stop_and_forget(desk: Desk, unit: str, release: str) -> float | None:
    """The share of the release that the page cache still holds, None when nobody can say. Raises DsopsError.

    The unit stays enabled: whatever kills us here, the next restart or boot brings it back.
    """
    done = desk.run(["systemctl", "stop", unit], timeout=STOP_SECONDS)
    if done.code:
        raise DsopsError(f"{unit} does not stop: {done.stderr.strip()[-300:]}", mend=f"`dsops node logs {unit}`")
    return drop(list_files(desk.releases.path(release)))


def drop(
    files: Sequence[Path],
    *,
    seconds: float = LAST_SECONDS,
    forget: Callable[[Sequence[Path]], None] = forget,
    look: Callable[[Sequence[Path]], float | None] = find_cached,
) -> float | None:
    """Asks for `seconds` at most, until next to nothing is held; the share that is, None when nobody can say."""
    until = time.monotonic() + seconds
    while True:
        with suppress(OSError):
            forget(files)
        held = look(files)
        if held is None or held <= LITTLE or time.monotonic() >= until:
            return held
        time.sleep(0.1)
