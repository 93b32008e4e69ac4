"""What a node must not forget: its slots, the active release and the ways back, marks, the move under way. Pure.

Times are Unix seconds.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dsops.core.lanes import LANES, find_lanes

SLOTS = ("a", "b")
# A state must fit one record of the journal whatever people write: so much of each is kept, words in bytes of JSON.
WORDS, MARKS, FALLBACKS, ACTS = 160, 40, 16, 16
# So many transitions a move may make; one that goes round and round halts the node.
TURNS = 32


class Stage(StrEnum):
    """How far the active release has come since it got the traffic."""

    BAKING = "baking"
    BAKED = "baked"
    KNOWN_GOOD = "known_good"


class Kind(StrEnum):
    """What a move wants."""

    ACTIVATE = "activate"
    ROLLBACK = "rollback"


class Step(StrEnum):
    """Where a move stands. Each is journalled before its effects are done."""

    START = "start"  # the slot gets its release and its Triton starts
    PROVE = "prove"  # nothing to do here: whoever probes says proven or refuted
    SWITCH = "switch"  # the lanes of the move's share lead to the slot
    CANARY = "canary"  # nothing to do here: a share of the traffic goes there, and somebody says widen or refuted
    RETURN = "return"  # all lanes lead back to the active slot
    TIDY = "tidy"  # the slot that was left, or refuted, stops


# Steps in which a node only waits for what somebody says.
WAITS = frozenset({Step.PROVE, Step.CANARY})


@dataclass(frozen=True)
class Active:
    """The release that has the traffic. since: when the lanes led to it.

    alone: the other slot had to stop for it, so the way back has to stop this one. environment: what surrounded it
    when it became known-good (kernel, driver, Triton ...), as whoever looked summed it up; "" = nobody did.
    """

    release: str
    slot: str
    since: float
    stage: Stage
    alone: bool = False
    environment: str = ""


@dataclass(frozen=True)
class Move:
    """A change under way. `stops`: the slot that TIDY stops, "" when none.

    share: percent of the traffic that it is to have. alone: the other slot stops before this one starts, since two
    copies do not fit. since: when the present share was reached, 0 before. turns: transitions so far.
    """

    kind: Kind
    release: str
    slot: str
    step: Step
    began: float
    who: str
    reason: str
    stops: str = ""
    refuted: str = ""
    share: int = 100
    alone: bool = False
    since: float = 0.0
    turns: int = 0


@dataclass(frozen=True)
class Bad:
    """A release that is refused here. until: None = until a person unmarks it."""

    release: str
    reason: str
    at: float
    until: float | None = None


@dataclass(frozen=True)
class Epoch:
    """The last fleet command that was taken: its number, and who gave it."""

    number: int = 0
    holder: str = ""


@dataclass(frozen=True)
class Held:
    """What a slot's link leads to; release "" = empty."""

    slot: str
    release: str = ""


@dataclass(frozen=True)
class NodeState:
    """All that a node must not forget.

    fallbacks: releases that had the traffic here and left it without fault, newest first, with the stage that they
    had reached. rollbacks, restarts: times of dsops' own acts. warm: the slot that was left and runs on, so that
    the way back is quick; "" when none does.
    """

    slots: tuple[Held, ...] = (Held("a"), Held("b"))
    active: Active | None = None
    fallbacks: tuple[Active, ...] = ()
    bad: tuple[Bad, ...] = ()
    move: Move | None = None
    epoch: Epoch = Epoch()
    rollbacks: tuple[float, ...] = ()
    restarts: tuple[float, ...] = ()
    halted: str = ""
    warm: str = ""

    def release_in(self, slot: str) -> str:
        """The release that a slot's link leads to, "" when it is empty."""
        return next((held.release for held in self.slots if held.slot == slot), "")

    @property
    def canary(self) -> Move | None:
        """The move whose release has a share of the traffic, and waits for more of it or for its end."""
        return self.move if self.move and self.move.step is Step.CANARY else None

    @property
    def lanes(self) -> Mapping[str, str]:
        """lane -> slot; empty while they are being turned, and where nothing is active."""
        move = self.move
        if self.active is None or (move and move.step in (Step.SWITCH, Step.RETURN)):
            return {}
        theirs = find_lanes(self.canary.share) if self.canary else ()
        return {lane: self.canary.slot if self.canary and lane in theirs else self.active.slot for lane in LANES}

    @property
    def known_good(self) -> tuple[str, ...]:
        """Releases that were good for long enough here, newest first."""
        everyone = (*((self.active,) if self.active else ()), *self.fallbacks)
        return tuple(one.release for one in everyone if one.stage is Stage.KNOWN_GOOD)

    def find_bad(self, release: str, *, at: float) -> Bad | None:
        """The mark that keeps a release out now."""
        return next((b for b in self.bad if b.release == release and (b.until is None or b.until > at)), None)


@dataclass(frozen=True)
class Policy:
    """How long a release is on trial, and how much dsops may do by itself. Times in seconds."""

    bake_seconds: float = 1800.0
    known_good_seconds: float = 86400.0
    rollbacks_per_day: int = 2
    restarts_per_hour: int = 2
    bad_seconds: float = 86400.0


def to_data(state: NodeState) -> dict[str, object]:
    """Plain data for JSON; `core.decode.decode(NodeState, data)` reads it.

    What came to a move or an active release later is left out where it says nothing: a dsops that was put back to an
    older version refuses keys that it does not know, and must read what it left.
    """
    data = dataclasses.asdict(state)
    _leave_out(data["move"], _LATER_OF_MOVE)
    for active in (data["active"], *data["fallbacks"]):
        _leave_out(active, _LATER_OF_ACTIVE)
    return data


_LATER_OF_ACTIVE: Mapping[str, object] = {"alone": False, "environment": ""}
_LATER_OF_MOVE: Mapping[str, object] = {"share": 100, "alone": False, "since": 0.0, "turns": 0}


def _leave_out(data: dict[str, object] | None, nothing: Mapping[str, object]) -> None:
    for key, value in nothing.items():
        if data and data[key] == value:
            del data[key]


def clip(text: str, most: int = WORDS) -> str:
    """A person's words, printable, on one line, and short enough for a record. most: bytes of JSON."""
    if text.isprintable() and 4 * len(text) + 2 <= most:
        return text  # short whatever its characters take
    words = "".join(char if char.isprintable() else " " for char in text)
    while len(json.dumps(words, ensure_ascii=False).encode(errors="replace")) > most:
        words = words[: len(words) * 7 // 8]
    return words
