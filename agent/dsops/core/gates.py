"""The gates of an apply, one wave after the other, as a small state machine: stops at the first that fails. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum

from dsops.core.waves import Wave


class Gate(StrEnum):
    """What is done for a wave, in this order. Each must be passed before the next begins."""

    ROOM = "room"  # enough others serve
    DRAIN = "drain"  # no new requests, and those in flight have ended
    RUN = "run"  # pyinfra
    REBOOT = "reboot"  # of those whose roles ask for it, when that is wanted
    WELL = "well"  # so the agents say
    ADMIT = "admit"  # requests again, and they are served
    VERIFY = "verify"  # the roles' own checks, which look at the traffic too


ORDER = tuple(Gate)


@dataclass(frozen=True)
class Stop:
    """Where it ended, and why."""

    gate: Gate
    why: str


@dataclass(frozen=True)
class Progress:
    """The waves, those servers that are done, the wave at hand and the gate in front of it."""

    waves: tuple[Wave, ...]
    done: frozenset[str] = frozenset()
    number: int = 0
    gate: Gate = Gate.ROOM
    stop: Stop | None = None

    @property
    def is_over(self) -> bool:
        return self.stop is not None or self.number >= len(self.waves)

    @property
    def wave(self) -> Wave:
        """The servers at hand: those of the wave that are not done yet."""
        found = self.waves[self.number] if self.number < len(self.waves) else ()
        return tuple(name for name in found if name not in self.done)

    @property
    def left(self) -> tuple[str, ...]:
        """All that are not done, in the order of the waves."""
        return tuple(name for wave in self.waves for name in wave if name not in self.done)

    @property
    def untouched(self) -> tuple[str, ...]:
        """Of those that are left, the ones that pyinfra did not begin with in this apply."""
        is_begun = self.stop is not None and ORDER.index(self.stop.gate) >= ORDER.index(Gate.RUN)
        return tuple(name for name in self.left if not (is_begun and name in self.wave))


def begin(waves: tuple[Wave, ...], done: frozenset[str] = frozenset()) -> Progress:
    """At the first wave that has something left."""
    return _skip(Progress(waves, done))


def step(progress: Progress, *, why: str = "") -> Progress:
    """After the gate at hand: why it failed, or nothing."""
    assert not progress.is_over
    if why:
        return replace(progress, stop=Stop(progress.gate, why))
    if progress.gate is not ORDER[-1]:
        return replace(progress, gate=ORDER[ORDER.index(progress.gate) + 1])
    done = progress.done | set(progress.waves[progress.number])
    return _skip(replace(progress, done=done, number=progress.number + 1, gate=ORDER[0]))


def _skip(progress: Progress) -> Progress:
    """Past the waves that are done already."""
    number = progress.number
    while number < len(progress.waves) and progress.done >= set(progress.waves[number]):
        number += 1
    return replace(progress, number=number)
