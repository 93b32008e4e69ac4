"""How fast something grows over hours: the least of every few minutes, and a slope that single leaps do not move.

The least of a window leaves out what requests take and give back. The slope is that of Theil (Indag. Math. 12, 1950)
and Sen (JASA 63, 1968): the median over all pairs, right though a quarter of the windows says anything else.
"""

from dataclasses import dataclass
from itertools import combinations
from statistics import median

WINDOW_SECONDS = 300.0
# Six hours.
KEPT = 72


@dataclass(frozen=True)
class Trend:
    """windows: (ticks, least value) of each, the oldest first. The last one still goes on, and is not looked at."""

    windows: tuple[tuple[float, float], ...] = ()

    def add(self, at: float, value: float) -> "Trend":
        """With one more value. at: seconds of the monotonic clock."""
        if self.windows and at // WINDOW_SECONDS == self.windows[-1][0] // WINDOW_SECONDS:
            return Trend((*self.windows[:-1], min(self.windows[-1], (at, value), key=lambda one: one[1])))
        return Trend((*self.windows, (at, value))[-KEPT - 1 :])

    @property
    def whole(self) -> tuple[tuple[float, float], ...]:
        """The windows that are over."""
        return self.windows[:-1]

    @property
    def seconds(self) -> float:
        """From the first window that is over to the last."""
        return self.whole[-1][0] - self.whole[0][0] if self.whole else 0.0

    def find_slope(self, within: float) -> float | None:
        """How much it grows a second, by the windows of so many seconds; None when there are less than three."""
        whole = self.whole
        points = [one for one in whole if whole[-1][0] - one[0] <= within]
        if len(points) < 3:
            return None
        return median((b - a) / (then - at) for (at, a), (then, b) in combinations(points, 2))
