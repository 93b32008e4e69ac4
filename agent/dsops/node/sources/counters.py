"""Counters of the kernel over the last half hour: how much they grew, not how high they stand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from dsops.node.sources.unread import Unread

KEEP_SECONDS = 1800.0
# Samples are kept no closer than this, but for the last one.
SPACING_SECONDS = 15.0


@dataclass(frozen=True)
class Counters:
    """samples: (ticks, name -> count), the oldest first. unread: what the last reading could not tell, and why; what is
    not there is no counter."""

    samples: tuple[tuple[float, Mapping[str, int]], ...] = ()
    unread: Mapping[str, Unread] = field(default_factory=dict)

    def add(self, ticks: float, values: Mapping[str, int | Unread]) -> "Counters":
        """With one more reading."""
        counts = {name: value for name, value in values.items() if not isinstance(value, Unread)}
        unread = {name: one for name, one in values.items() if isinstance(one, Unread) and not one.is_missing}
        kept = [one for one in self.samples if ticks - one[0] <= KEEP_SECONDS]
        if len(kept) > 1 and kept[-1][0] - kept[-2][0] < SPACING_SECONDS:
            kept.pop()
        return Counters((*kept, (ticks, counts)), unread)

    def list_names(self, prefix: str) -> list[str]:
        """Of the last reading, those that could not be read too."""
        last = self.samples[-1][1] if self.samples else {}
        return sorted(name for name in (*last, *self.unread) if name.startswith(prefix))

    def grown(self, name: str, within: float) -> int | Unread | None:
        """By how much within so many seconds; None while there is nothing to compare with. A counter that begins anew,
        as with a driver that was loaded again, has grown by what it shows."""
        points = self._find_points(name, within)
        if isinstance(points, Unread) or len(points) < 2:
            return points if isinstance(points, Unread) else None
        return sum(now - before if now >= before else now for (_, before), (_, now) in pairwise(points))

    def rate(self, name: str, within: float) -> float | Unread | None:
        """How much it grows a second."""
        points, grown = self._find_points(name, within), self.grown(name, within)
        if isinstance(points, Unread) or isinstance(grown, Unread) or grown is None:
            return grown if isinstance(grown, Unread) else None
        return grown / max(points[-1][0] - points[0][0], 1e-3)

    def _find_points(self, name: str, within: float) -> list[tuple[float, int]] | Unread:
        if name in self.unread:
            return self.unread[name]
        last = self.samples[-1][0] if self.samples else 0.0
        return [(at, counts[name]) for at, counts in self.samples if name in counts and last - at <= within]
