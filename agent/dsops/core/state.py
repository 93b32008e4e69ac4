"""What a node must not forget: its slots, the active release and the ways back, marks, the move under way. Pure.

Times are Unix seconds.
"""

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum

SLOTS = ("a", "b")
# A state must fit one record of the journal whatever people write: so much of each is kept, words in bytes of JSON.
WORDS, MARKS, FALLBACKS, ACTS = 160, 40, 16, 16


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
    SWITCH = "switch"  # the lanes lead to the slot
    TIDY = "tidy"  # the slot that was left, or refuted, stops


@dataclass(frozen=True)
class Active:
    """The release that has the traffic. since: when the lanes led to it."""

    release: str
    slot: str
    since: float
    stage: Stage


@dataclass(frozen=True)
class Move:
    """A change under way. `stops`: the slot that TIDY stops, "" when none."""

    kind: Kind
    release: str
    slot: str
    step: Step
    began: float
    who: str
    reason: str
    stops: str = ""
    refuted: str = ""


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
    """Plain data for JSON; `core.decode.decode(NodeState, data)` reads it."""
    return dataclasses.asdict(state)


def clip(text: str, most: int = WORDS) -> str:
    """A person's words, printable, on one line, and short enough for a record. most: bytes of JSON."""
    words = "".join(char if char.isprintable() else " " for char in text)
    while len(json.dumps(words, ensure_ascii=False).encode(errors="replace")) > most:
        words = words[: len(words) * 7 // 8]
    return words
