"""A node that is played: its journal, links, lanes and Tritons, its clocks, and what can break between two effects."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from dsops.core.errors import DsopsError
from dsops.core.events import Effect, Event, Lanes, Link, Stop
from dsops.core.lanes import LANES, find_lanes
from dsops.core.state import SLOTS, Epoch, NodeState, Policy

POLICY = Policy()
RELEASES = tuple(f"r{number:012x}" for number in range(6))
WALL = 1_700_000_000.0
LOAD_SECONDS = 60.0
LANE_NAMES = tuple(LANES)


class Cut(BaseException):
    """The helper was killed, or the power went. Nothing of dsops may catch it."""


@dataclass(slots=True)
class Triton:
    """What runs in a slot. ill: "" = it answers right; else hung, wrong, slow, busy, or dead (nothing listens).

    loaded: ticks from which on it answers. life: counts the starts by dsops. is_proven: in this life.
    """

    release: str = ""
    runs: bool = False
    started: float = 0.0
    loaded: float = 0.0
    ill: str = ""
    life: int = 0
    is_proven: bool = False
    is_enabled: bool = False

    def copy(self) -> "Triton":
        """One more; `dataclasses.replace` takes ten times as long, and there are millions."""
        first = (self.release, self.runs, self.started, self.loaded)
        return Triton(*first, self.ill, self.life, self.is_proven, self.is_enabled)


@dataclass(frozen=True, slots=True)
class Message:
    """What somebody asked, on its way. life: of a proof."""

    name: str
    make: "Callable[[World, NodeState], Event]"
    epoch: Epoch | None = None
    life: int = -1


def do_nothing(*_: object) -> None:
    """Stands for whoever wants to hear what happens."""


class World:
    """Everything outside the brain. Ticks are true seconds; wall is what the node's own clock shows.

    state, seq: what the journal's newest whole record says. fuse: after so many points the helper ends, or with `power`
    the machine; below 0 never. has: releases whose files are on the disk. tampered: somebody turned a link by hand.
    """

    __slots__ = (
        "bad_gpu",
        "bad_links",
        "broken_journal",
        "check",
        "fleet",
        "full",
        "fuse",
        "has",
        "lanes",
        "late",
        "links",
        "memory",
        "natures",
        "power",
        "proof",
        "random",
        "refuses",
        "restarted",
        "say",
        "seq",
        "skew",
        "slots",
        "state",
        "stopped",
        "tampered",
        "ticks",
        "turned_from",
    )

    def __init__(self, random: Random) -> None:
        self.random = random
        self.state = NodeState()
        self.seq = 0
        self.links = dict.fromkeys(SLOTS, "")
        self.lanes: tuple[str, ...] = ("",) * len(LANE_NAMES)
        self.turned_from = self.lanes
        self.slots = {slot: Triton() for slot in SLOTS}
        self.ticks = 0.0
        self.skew = WALL
        self.fuse = -1
        self.power = False
        self.full = self.bad_gpu = self.bad_links = self.broken_journal = self.refuses = self.stopped = (
            self.tampered
        ) = False
        self.memory = True
        self.has = set(RELEASES)
        self.natures: dict[str, str] = {}
        self.late: list[Message] = []
        # The life of the slot that the proof on its way to the helper was made in.
        self.proof = -1
        self.fleet: dict[str, int] = {"east": 1, "west": 1}
        self.restarted: tuple[str, float] = ("", -1e9)
        self.say: Callable[..., None] = do_nothing
        self.check: Callable[[Effect], None] = do_nothing

    def copy(self, random: Random) -> "World":
        """Another node of the same kind; what never changes is shared."""
        new = World.__new__(World)
        for name in World.__slots__:
            setattr(new, name, getattr(self, name))
        new.random = random
        new.links, new.has = dict(self.links), set(self.has)
        new.natures, new.fleet = dict(self.natures), dict(self.fleet)
        new.slots = {slot: one.copy() for slot, one in self.slots.items()}
        new.late, new.say, new.check = list(self.late), do_nothing, do_nothing
        return new

    @property
    def now(self) -> float:
        """What the node's own clock shows."""
        return self.ticks + self.skew

    def point(self) -> None:
        """Here everything may end."""
        if self.fuse >= 0:
            self.fuse -= 1
            if self.fuse < 0:
                raise Cut

    # --- effects ------------------------------------------------------------------------------------------------

    def do(self, effect: Effect) -> None:
        """One effect, as the helper's hands do it. Raises DsopsError where they would."""
        if self.fuse >= 0:
            self.point()
        kind = type(effect)
        if kind is Lanes:
            self._turn(effect)  # type: ignore[arg-type]
        elif kind is Stop:
            self._ask_systemd()
            one = self.slots[effect.slot]
            one.is_enabled = one.runs = False
        elif kind is Link:
            self._link(effect.slot, effect.release)  # type: ignore[union-attr]
        else:
            self._ask_systemd()
            self.start(effect.slot)
            one = self.slots[effect.slot]
            one.is_enabled, one.is_proven = True, False
            one.life += 1
        self.check(effect)

    def start(self, slot: str) -> None:
        """A fresh process with what the slot's link leads to. What is spoilt in the release shows again."""
        one = self.slots[slot]
        release = self.links[slot]
        nature = self.natures.get(release, "")
        one.release, one.runs, one.started, one.ill = release, bool(release), self.ticks, nature
        one.loaded = self.ticks + (1e9 if nature == "stuck" else 8.0)

    def _ask_systemd(self) -> None:
        if self.refuses:
            raise DsopsError("systemd refuses", mend="")

    def _link(self, slot: str, release: str) -> None:
        if self.bad_links or (self.full and release):
            raise DsopsError("the disk refuses", where="slots", mend="")
        if self.fuse == 0 and self.random.random() < 0.5:
            self._set_link(slot, release)
        self.point()
        self._set_link(slot, release)

    def _set_link(self, slot: str, release: str) -> None:
        if self.links[slot] != release:
            self.links[slot] = release
            self.slots[slot].is_proven = False

    def _turn(self, effect: Lanes) -> None:
        """Each lane is one rename; a power cut keeps any of those that were not yet made to last."""
        new = find_lanes(effect.share)
        aim = tuple(effect.slot if lane in new else effect.other for lane in LANE_NAMES)
        before = self.turned_from = self.lanes
        if self.bad_links:
            place = int(self.random.random() * len(aim))
            self.lanes = (*aim[:place], *before[place:])
            raise DsopsError("the disk refuses", where="lanes", mend="")
        if self.fuse < 0:
            self.lanes = aim
            return
        for place in range(len(aim)):
            if self.fuse == 0 and self.power:
                pick = [(old, to)[self.random.random() < 0.5] for old, to in zip(before, self.lanes, strict=True)]
                self.lanes = tuple(pick)
            self.point()
            self.lanes = (*aim[: place + 1], *before[place + 1 :])

    # --- the journal --------------------------------------------------------------------------------------------

    def write(self, after: NodeState) -> None:
        """One record. Cut in the middle it is torn and does not count, or it is whole."""
        if self.broken_journal:
            raise DsopsError("the disk refuses", where="journal", mend="")
        if self.fuse == 0 and self.random.random() < 0.5:
            self.seq, self.state = self.seq + 1, after
        self.point()
        self.seq, self.state = self.seq + 1, after

    # --- what ends, and begins again -------------------------------------------------------------------------------

    def reboot(self) -> None:
        """The power came back: what is enabled starts, and what is on the disk is what was made to last."""
        self.ticks += 30.0
        for slot, one in self.slots.items():
            one.runs = False
            if one.is_enabled and self.links[slot]:
                self.start(slot)

    def take_proof(self, slot: str) -> None:
        """The helper believes a proof; it is one only when it was made in this life of the slot."""
        self.slots[slot].is_proven = self.slots[slot].life == self.proof

    # --- what can be seen ------------------------------------------------------------------------------------------

    def is_well(self, slot: str) -> bool:
        """Whether requests to the slot are answered right now."""
        one = self.slots[slot]
        return one.runs and self.ticks >= one.loaded and one.ill in ("", "slow", "busy")

    def find_warm(self, target: str) -> tuple[str, ...]:
        """As the helper finds it: running for as long as it had the traffic, or as loading may take."""
        active = self.state.active
        if active is None or not target:
            return ()
        need = min(LOAD_SECONDS, max(0.0, self.now - active.since))
        return tuple(
            slot
            for slot, one in self.slots.items()
            if slot != active.slot
            and self.state.release_in(slot) == target
            and one.runs
            and self.ticks - one.started >= need
        )

    def find_missing(self) -> tuple[str, ...]:
        """Releases whose files are not there, or not any more."""
        if len(self.has) == len(RELEASES):
            return ()
        return tuple(release for release in RELEASES if release not in self.has)

    def snapshot(self) -> tuple[object, ...]:
        """All that a second recovery must not change."""
        rest = tuple((s.release, s.runs, s.is_enabled, s.life) for s in self.slots.values())
        return self.state, self.lanes, tuple(self.links.values()), rest
