"""Reads what a node's files say: links, store, boot. Blocking, and on a dying disk for ever."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.state import NodeState
from dsops.node.sources.damage import DamageReader
from dsops.node.sources.golden import Golden, read_golden
from dsops.node.sources.host import Host, read_host
from dsops.node.sources.papers import Papers, PapersReader
from dsops.node.sources.passports import Papers as Passports
from dsops.node.sources.passports import PassportsReader
from dsops.node.sources.slots import read_lane_slot, read_slot_release
from dsops.node.sources.store import StoreReader, StoreReading
from dsops.node.store.audit import Reach, ReachReader


@dataclass(frozen=True)
class Files:
    """One reading. reason: why it is an old one, "" when it is not.

    golden: what the active release is to be asked; None when there is none, or golden_reason says why not. goldens:
    release -> the same, of those in both slots that can be read. audit: how far its chain goes. damage: release -> what
    is wrong with it on the disk, of the active one and those to go back to. papers: the baseline, and a maintenance.
    passports: of the releases in the slots.
    """

    host: Host = field(default_factory=lambda: Host("", None))
    slot_releases: Mapping[str, str] = field(default_factory=dict)
    stable_slot: str = ""
    store: StoreReading = field(default_factory=lambda: StoreReading(NodeState()))
    golden: Golden | None = None
    golden_reason: str = ""
    goldens: Mapping[str, Golden] = field(default_factory=dict)
    reason: str = ""
    audit: Reach = field(default_factory=lambda: Reach(is_there=False))
    damage: Mapping[str, str] = field(default_factory=dict)
    papers: Papers = field(default_factory=Papers)
    passports: Mapping[str, Passports] = field(default_factory=dict)


class FilesReader:
    """One node's files. slots: their names, none where there is no store."""

    def __init__(self, *, root: Path, state: Path, slots: tuple[str, ...], lane: str) -> None:
        self._root = root
        self._state = state
        self._slots = slots
        self._lane = lane
        self._store = StoreReader(state)
        self._audit = ReachReader(state)
        self._goldens: dict[str, Golden] = {}
        self._damage = DamageReader(state)
        self._papers = PapersReader(state)
        self._passports = PassportsReader(state)
        self.last = Files()

    def read(self) -> Files:
        """Blocking."""
        host = read_host(self._root)
        if not self._slots:
            self.last = Files(host)
            return self.last
        releases = {slot: read_slot_release(self._state, slot) for slot in self._slots}
        stable = read_lane_slot(self._state, self._lane)
        reasons = {release: self._read_golden(release) for release in releases.values()}
        self._goldens = {release: one for release, one in self._goldens.items() if release in reasons}
        active, store = releases.get(stable, ""), self._store.read()
        self.last = Files(
            host,
            releases,
            stable,
            store,
            self._goldens.get(active),
            reasons.get(active, ""),
            dict(self._goldens),
            audit=self._audit.read(),
            damage=self._damage.read(store.state),
            papers=self._papers.read(),
            passports={release: self._passports.read(release) for release in releases.values() if release},
        )
        return self.last

    def _read_golden(self, release: str) -> str:
        """Why it cannot be read. A release never changes, so it is read once; what cannot be read is tried again."""
        if not release or release in self._goldens:
            return ""
        try:
            self._goldens[release] = read_golden(self._state / "releases" / release)
        except DsopsError as error:
            return str(error)
        return ""

    def otherwise(self, reason: str) -> Files:
        """What was read last, with the reason why there is nothing newer."""
        return replace(self.last, reason=reason)
