"""Stops a slot and lets the kernel forget its release, so that its next start loads from the disk."""

from contextlib import suppress

from dsops.core.errors import DsopsError
from dsops.node.helper.desk import Desk
from dsops.node.sources.cache import find_cached, forget, list_files

STOP_SECONDS = 120.0


def stop_and_forget(desk: Desk, unit: str, release: str) -> float | None:
    """The share of the release that the page cache still holds, None when nobody can say. Raises DsopsError.

    The unit stays enabled: whatever kills us here, the next restart or boot brings it back.
    """
    done = desk.run(["systemctl", "stop", unit], timeout=STOP_SECONDS)
    if done.code:
        raise DsopsError(f"{unit} does not stop: {done.stderr.strip()[-300:]}", mend=f"`dsops node logs {unit}`")
    files = list_files(desk.releases.path(release))
    with suppress(OSError):
        forget(files)
    return find_cached(files)
