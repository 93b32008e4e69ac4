"""Turns the slots' token counters into tokens per second."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from dsops.core.status import Slot

RATE_SECONDS = 10.0


@dataclass(frozen=True)
class Sample:
    """Counters at one moment; at = monotonic seconds. tokens per slot that answered."""

    at: float
    tokens: Mapping[str, float]


@dataclass(frozen=True)
class Rates:
    """A sliding window of samples, oldest first. Immutable: `add` returns the next one."""

    samples: tuple[Sample, ...] = field(default=())

    def add(self, at: float, slots: tuple[Slot, ...]) -> "Rates":
        """With one more sample and without those that nothing needs any more."""
        tokens = {s.name: s.generated_tokens for s in slots if s.generated_tokens is not None}
        kept = [s for s in self.samples if 0 <= at - s.at <= RATE_SECONDS]
        return Rates((*kept, Sample(at, tokens)))

    def find_tokens_per_second(self) -> float | None:
        """Over the last 10 s, all slots together; None until two samples of one slot are there."""
        rates = [r for slot in (self.samples[-1].tokens if self.samples else ()) if (r := self._find(slot)) is not None]
        return sum(rates) if rates else None

    def _find(self, slot: str) -> float | None:
        window = [s for s in self.samples if slot in s.tokens]
        if len(window) < 2 or window[-1].at == window[0].at:
            return None
        # Only growth counts: a restarted Triton begins again at zero.
        grown = sum(max(0.0, after.tokens[slot] - before.tokens[slot]) for before, after in pairwise(window))
        return grown / (window[-1].at - window[0].at)
