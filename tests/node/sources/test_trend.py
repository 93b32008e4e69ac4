"""A slope over hours: what rises and falls in between does not move it."""

import math
import random
from collections.abc import Callable

import pytest
from dsops.node.sources.trend import KEPT, WINDOW_SECONDS, Trend

HOUR = 3600.0


def run(value: Callable[[float], float], *, hours: float, every: float = 60.0) -> Trend:
    trend = Trend()
    for number in range(int(hours * HOUR / every)):
        trend = trend.add(number * every, value(number * every))
    return trend


def test_a_steady_growth_is_its_slope() -> None:
    assert run(lambda at: 100 + at / HOUR, hours=4).find_slope(9 * HOUR) == pytest.approx(1 / HOUR)
    assert run(lambda _: 100.0, hours=4).find_slope(9 * HOUR) == 0


def test_requests_that_come_and_go_and_a_quarter_of_leaps_do_not_move_it() -> None:
    chance = random.Random(4)
    swings = run(lambda at: 100 + at / HOUR + 50 * abs(math.sin(at)), hours=6)
    assert swings.find_slope(9 * HOUR) == pytest.approx(1 / HOUR, rel=0.25)
    leaps = run(lambda at: 100 + at / HOUR + (5000 if chance.random() < 0.1 else 0), hours=6, every=WINDOW_SECONDS)
    assert leaps.find_slope(9 * HOUR) == pytest.approx(1 / HOUR, rel=0.25)


def test_what_stopped_to_grow_has_no_slope_of_late() -> None:
    filled = run(lambda at: min(at, 2 * HOUR), hours=5)
    assert filled.find_slope(HOUR) == 0
    assert (filled.find_slope(9 * HOUR) or 0) > 0


def test_too_few_windows_say_nothing_and_six_hours_are_kept() -> None:
    assert Trend().find_slope(HOUR) is None
    assert run(lambda at: at, hours=0.2).find_slope(HOUR) is None
    long = run(lambda at: at, hours=30, every=WINDOW_SECONDS)
    assert len(long.whole) == KEPT
    assert long.seconds == (KEPT - 1) * WINDOW_SECONDS
