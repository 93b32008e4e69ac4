"""Probes that come back BAD though nothing is wrong, each by itself at one rate."""

import math
from random import Random


class Flakes:
    """left: so many right answers until the next flake: exactly a coin for each probe, thrown when the last one fell.

    So time can be skipped in which no probe flakes, and the same probes flake whether it is skipped or not.
    """

    def __init__(self, random: Random, rate: float) -> None:
        self._random = random
        self._rate = rate
        self.left = self._draw()

    def take(self) -> bool:
        """Whether this probe flakes."""
        if self.left > 0:
            self.left -= 1
            return False
        self.left = self._draw()
        return True

    def _draw(self) -> float:
        if self._rate <= 0:
            return math.inf
        return int(math.log(1.0 - self._random.random()) / math.log1p(-self._rate))
