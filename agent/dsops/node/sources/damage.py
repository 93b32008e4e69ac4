"""Looks whether the releases that a node needs still lie on its disk as they were built; hashes nothing."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from dsops.core.state import NodeState
from dsops.node.store.blobs import Blobs
from dsops.node.store.disk import Disk
from dsops.node.store.releases import Releases

AGAIN_SECONDS = 60.0


class DamageReader:
    """One store; blocking. What is not on the disk at all, such as what lies cold, is not damaged."""

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        disk = Disk()
        self._releases = Releases(root, Blobs(root, disk), disk)
        self._clock = clock
        self._last: dict[str, str] = {}
        self._key: tuple[str, ...] = ()
        self._at = float("-inf")

    def read(self, state: NodeState | None) -> Mapping[str, str]:
        """release -> what is wrong, of the active one and those to go back to; once a minute, or when these change."""
        had = (*((state.active,) if state.active else ()), *state.fallbacks) if state else ()
        key, now = tuple(one.release for one in had), self._clock()
        if key != self._key or now - self._at >= AGAIN_SECONDS:
            found = {name: self._releases.find_damage(name) for name in key if self._releases.has(name)}
            self._last = {name: says for name, says in found.items() if says}
            self._key, self._at = key, now
        return self._last
