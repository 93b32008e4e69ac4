"""Numbers of failures, drawn fast."""

import math
from random import Random


def draw_failures(rng: Random, requests: int, rate: float) -> int:
    """How many of so many requests fail: exactly binomial, by the gaps between failures."""
    if rate <= 0 or requests <= 0:
        return 0
    if rate >= 1:
        return requests
    if rate > 0.2:
        return sum(rng.random() < rate for _ in range(requests))
    scale, at, failures = math.log1p(-rate), 0, 0
    while True:
        at += 1 + int(math.log(1.0 - rng.random()) / scale)
        if at > requests:
            return failures
        failures += 1
