"""What a fleet remembers beyond one rollout: releases that fell, those that no node may take, and its halt. Pure."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.halt import WINDOW_SECONDS, Fall, find_halt
from dsops.core.rollout_events import Effect, Fell, Mark

# Old falls say nothing any more; so many are kept for people.
KEPT = 100


@dataclass(frozen=True)
class Banned:
    """A release on the fleet's bad list, until a person takes it off."""

    release: str
    reason: str
    at: float


@dataclass(frozen=True)
class Memory:
    """Of one inventory. falls: since the last reset. halted: why nothing goes forward, "" when it may.

    reset: the last one, in words.
    """

    falls: tuple[Fall, ...] = ()
    bad: tuple[Banned, ...] = ()
    halted: str = ""
    halted_at: float = 0.0
    reset_at: float = 0.0
    reset: str = ""

    def find_bad(self, release: str) -> Banned | None:
        """The mark that keeps a release off the whole fleet."""
        return next((one for one in self.bad if one.release == release), None)

    def to_json(self) -> str:
        """For the store."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def parse_memory(text: str, *, where: str = "fleet") -> Memory:
    """From the store; nothing at first. Raises DsopsError."""
    if not text:
        return Memory()
    try:
        return decode(Memory, json.loads(text), where=where)
    except ValueError as error:
        mend = "restore a backup: `dsops restore FILE --replace`"
        raise DsopsError(f"what the fleet remembers cannot be read ({error})", where=where, mend=mend) from error


def remember(memory: Memory, effects: Iterable[Effect], *, at: float) -> Memory:
    """With what a step of a rollout wants to be remembered; halted when too many fell within an hour."""
    after = memory
    for effect in effects:
        if isinstance(effect, Fell):
            fall = Fall(effect.at, effect.release, effect.node, effect.reason)
            after = after if fall in after.falls else replace(after, falls=(*after.falls, fall)[-KEPT:])
        if isinstance(effect, Mark) and not after.find_bad(effect.release):
            after = replace(after, bad=(*after.bad, Banned(effect.release, effect.reason, at)))
    return after if after == memory else halt(after, at=at)


def halt(memory: Memory, *, at: float) -> Memory:
    """A halt stays until a person resets it, however long ago its falls are."""
    why = find_halt(memory.falls, at=at)
    return replace(memory, halted=why, halted_at=at) if why and not memory.halted else memory


def reset(memory: Memory, *, who: str, reason: str, at: float, unmark: str = "") -> Memory:
    """A person ends the halt, or takes a release off the bad list, or both. Raises DsopsError when there is neither."""
    if unmark and not memory.find_bad(unmark):
        known = ", ".join(one.release for one in memory.bad) or "none"
        raise DsopsError(f"{unmark} is not on the fleet's bad list", mend=f"on it: {known}")
    if not memory.halted and not unmark:
        raise DsopsError("the fleet is not halted, so there is nothing to reset", mend="`dsops rollout status`")
    bad = tuple(one for one in memory.bad if one.release != unmark)
    kept = memory.falls if not memory.halted else ()
    return replace(memory, falls=kept, bad=bad, halted="", halted_at=0.0, reset_at=at, reset=f"{who}: {reason}")


def find_recent(memory: Memory, *, at: float) -> tuple[Fall, ...]:
    """The falls that count towards a halt now."""
    return tuple(fall for fall in memory.falls if at - fall.at < WINDOW_SECONDS)
