"""Whether an engine moves: what its counters, and the gateway's, say over the last seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A newest sample older than this says nothing about now.
FRESH_SECONDS = 3.0
# Nobody looked for so long: what was before it cannot be joined to what comes after. The machine may have slept.
GAP_SECONDS = 3.0


@dataclass(frozen=True)
class Progress:
    """One sample. None = nobody could say. at: monotonic seconds.

    generated, prefilled, iterations: the engine's totals. relayed: tokens that the gateway got from this slot.
    in_flight: requests that wait for this slot's engine now, by the gateway. answers: whether any of the engine's
    HTTP doors said anything this time; False tells a stopped process from a metrics page that is missing.
    """

    at: float
    generated: float | None = None
    prefilled: float | None = None
    iterations: float | None = None
    running: float | None = None
    waiting: float | None = None
    relayed: float | None = None
    in_flight: int | None = None
    answers: bool | None = None

    @property
    def totals(self) -> Mapping[str, float]:
        """The counters that are known. A change of any is progress, also a fall: a new process moves."""
        named = {
            "generated": self.generated,
            "prefilled": self.prefilled,
            "iterations": self.iterations,
            "relayed": self.relayed,
        }
        return {name: value for name, value in named.items() if value is not None}

    @property
    def counters(self) -> frozenset[str]:
        """Names of the engine's own that are known."""
        return frozenset(self.totals) - {"relayed"}


def find_stall(history: Sequence[Progress], *, now: float, busy_since: float | None = None) -> float | None:
    """Seconds in which work was there and nothing moved; 0.0 when it moves or has no work; None = cannot be told.

    history: oldest first. busy_since: since when a probe of ours waits, which is work that no gauge need show.
    """
    newest = history[-1] if history else None
    if newest is None or not 0 <= now - newest.at <= FRESH_SECONDS or not _can_tell(newest, busy_since):
        return None
    known: dict[str, float] = {}
    later = oldest = newest
    for sample in reversed(history):
        if later.at - sample.at > GAP_SECONDS or not _has_work(sample, busy_since) or _differs(sample.totals, known):
            break
        known = {**sample.totals, **known}
        later = sample
        # One that could not tell says nothing: only an older one with the same counts shows that nothing moved since.
        oldest = sample if sample.counters >= newest.counters else oldest
    return newest.at - oldest.at


def is_moving(history: Sequence[Progress], *, now: float) -> bool:
    """Whether any counter changed between the two newest samples, and the newest is fresh."""
    if len(history) < 2 or now - history[-1].at > FRESH_SECONDS:
        return False
    return _differs(history[-2].totals, history[-1].totals)


def _can_tell(sample: Progress, busy_since: float | None) -> bool:
    """The engine's own counters tell; without them, silence on all its doors while somebody is known to wait."""
    if sample.generated is not None or sample.prefilled is not None or sample.iterations is not None:
        return True
    if sample.answers is not False:
        return False
    return busy_since is not None or sample.in_flight is not None


def _has_work(sample: Progress, busy_since: float | None) -> bool:
    known = any(amount for amount in (sample.running, sample.waiting, sample.in_flight))
    return known or (busy_since is not None and sample.at >= busy_since)


def _differs(earlier: Mapping[str, float], later: Mapping[str, float]) -> bool:
    return any(later.get(name, value) != value for name, value in earlier.items())
