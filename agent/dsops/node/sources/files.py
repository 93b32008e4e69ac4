"""Reads what a node's files say: links, store, disk space, boot. Blocking, and on a dying disk for ever."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.state import NodeState
from dsops.node.sources.golden import Golden, read_golden
from dsops.node.sources.host import Host, read_host
from dsops.node.sources.slots import read_lane_slot, read_slot_release
from dsops.node.sources.store import StoreReader, StoreReading


@dataclass(frozen=True)
class Files:
    """One reading. reason: why it is an old one, "" when it is not. free_bytes: None when nobody could say.

    golden: what the active release is to be asked; None when there is none, or golden_reason says why not.
    """

    host: Host = field(default_factory=lambda: Host("", None))
    slot_releases: Mapping[str, str] = field(default_factory=dict)
    stable_slot: str = ""
    store: StoreReading = field(default_factory=lambda: StoreReading(NodeState()))
    free_bytes: int | None = None
    golden: Golden | None = None
    golden_reason: str = ""
    reason: str = ""


class FilesReader:
    """One node's files. slots: their names, none where there is no store."""

    def __init__(self, *, root: Path, state: Path, slots: tuple[str, ...], lane: str) -> None:
        self._root = root
        self._state = state
        self._slots = slots
        self._lane = lane
        self._store = StoreReader(state)
        self._golden: Golden | None = None
        self.last = Files()

    def read(self) -> Files:
        """Blocking."""
        host = read_host(self._root)
        if not self._slots:
            self.last = Files(host)
            return self.last
        releases = {slot: read_slot_release(self._state, slot) for slot in self._slots}
        stable = read_lane_slot(self._state, self._lane)
        golden, reason = self._read_golden(releases.get(stable, ""))
        self.last = Files(
            host,
            releases,
            stable,
            self._store.read(),
            find_free_bytes(self._state),
            golden,
            reason,
        )
        return self.last

    def _read_golden(self, release: str) -> tuple[Golden | None, str]:
        """A release never changes, so it is read once; what cannot be read is tried again."""
        if not release:
            return None, ""
        if self._golden and self._golden.release == release:
            return self._golden, ""
        try:
            self._golden = read_golden(self._state / "releases" / release)
        except DsopsError as error:
            return None, str(error)
        return self._golden, ""

    def otherwise(self, reason: str) -> Files:
        """What was read last, with the reason why there is nothing newer."""
        return replace(self.last, reason=reason, free_bytes=None)


def find_free_bytes(path: Path, *, statvfs: Callable[[str], os.statvfs_result] = os.statvfs) -> int | None:
    """Bytes that an unprivileged writer finds there, None when nobody can say."""
    try:
        seen = statvfs(str(path))
    except OSError:
        return None
    return seen.f_bavail * seen.f_frsize
