"""Whether an engine moves: from counters that stand, change, are missing, or belong to another process."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from dsops.core.progress import GAP_SECONDS, Progress, find_stall, is_moving
from hypothesis import given
from hypothesis import strategies as st

COUNTERS = ("generated", "prefilled", "iterations", "relayed")


def standing(seconds: int, *, start: float = 100.0, **fields: Any) -> list[Progress]:
    """One sample a second in which nothing changes."""
    first = Progress(start, generated=7.0, running=1.0)
    return [replace(first, at=start + second, **fields) for second in range(seconds + 1)]


def change(sample: Progress, counter: str, value: float) -> Progress:
    changes: dict[str, Any] = {counter: value}
    return replace(sample, **changes)


def test_work_that_stands_still_is_a_stall_of_so_many_seconds() -> None:
    assert find_stall(standing(9), now=109.0) == 9.0


def test_without_work_nothing_stalls() -> None:
    assert find_stall(standing(9, running=0.0), now=109.0) == 0.0


@pytest.mark.parametrize("work", [{"running": 1.0}, {"waiting": 3.0}, {"in_flight": 1}])
def test_any_gauge_is_enough_for_work(work: dict[str, float]) -> None:
    assert find_stall(standing(5, **{"running": 0.0, **work}), now=105.0) == 5.0


@pytest.mark.parametrize("counter", COUNTERS)
def test_any_counter_that_moves_ends_a_stall(counter: str) -> None:
    history = [change(one, counter, float(one.at >= 103)) for one in standing(6)]
    assert find_stall(history, now=106.0) == 3.0


def test_a_counter_that_falls_is_a_new_process_and_moves() -> None:
    history = [*standing(4), *standing(2, start=105.0, generated=0.0)]
    assert find_stall(history, now=107.0) == 2.0


def test_a_stall_begins_with_the_work() -> None:
    history = [*standing(4, running=0.0), *standing(2, start=105.0)]
    assert find_stall(history, now=107.0) == 2.0


def test_a_counter_that_was_unreadable_in_between_is_compared_across_the_hole() -> None:
    history = standing(6)
    history[3] = replace(history[3], generated=None, running=None, in_flight=1)
    assert find_stall(history, now=106.0) == 6.0
    history[:3] = [replace(one, generated=6.0) for one in history[:3]]
    assert find_stall(history, now=106.0) == 2.0


def test_time_in_which_nobody_could_tell_is_no_stall_once_somebody_can_again() -> None:
    untold = standing(9, generated=None, running=None, in_flight=2, answers=True)
    assert find_stall(untold, now=109.0) is None
    assert find_stall([*untold, *standing(0, start=110.0, in_flight=2)], now=110.0) == 0.0
    assert find_stall([*untold, *standing(2, start=110.0)], now=112.0, busy_since=101.0) == 2.0


def test_a_hole_in_time_is_not_bridged() -> None:
    """The agent, or the whole machine, slept: nobody looked."""
    history = [*standing(4), *standing(2, start=104.0 + GAP_SECONDS)]
    assert find_stall(history, now=109.0) == 9.0
    history = [*standing(4), *standing(2, start=104.0 + GAP_SECONDS + 0.1)]
    assert find_stall(history, now=109.1) == pytest.approx(2.0)


@pytest.mark.parametrize("now", [104.0 + 3.1, 103.0])
def test_an_old_sample_or_one_of_the_future_says_nothing(now: float) -> None:
    assert find_stall(standing(4), now=now) is None


def test_nothing_is_said_without_history() -> None:
    assert find_stall([], now=0.0) is None


def test_a_dead_metrics_page_of_an_engine_that_answers_says_nothing() -> None:
    assert find_stall(standing(9, generated=None, running=None, in_flight=2, answers=True), now=109.0) is None
    assert find_stall(standing(9, generated=None, running=None, in_flight=2), now=109.0) is None


def test_silence_on_every_door_is_a_stall_when_somebody_waits() -> None:
    silent = standing(9, generated=None, running=None, in_flight=2, relayed=5.0, answers=False)
    assert find_stall(silent, now=109.0) == 9.0
    assert find_stall([replace(one, relayed=one.at) for one in silent], now=109.0) == 0.0
    assert find_stall([replace(one, in_flight=0) for one in silent], now=109.0) == 0.0


def test_our_own_probe_is_work_that_no_gauge_need_show() -> None:
    idle = standing(9, running=0.0)
    assert find_stall(idle, now=109.0, busy_since=104.5) == 4.0
    silent = standing(9, generated=None, running=None, answers=False)
    assert find_stall(silent, now=109.0) is None
    assert find_stall(silent, now=109.0, busy_since=104.0) == 5.0


def test_moving_is_seen_between_the_two_newest_samples() -> None:
    moving = [replace(one, generated=one.at) for one in standing(3)]
    assert is_moving(moving[:2], now=101.0)
    assert is_moving(moving, now=106.0)
    assert not is_moving(moving, now=106.1)
    assert not is_moving(standing(3), now=103.0)
    assert not is_moving(moving[:1], now=100.0)


counts = st.none() | st.integers(0, 3).map(float)
samples = st.builds(
    Progress,
    at=st.just(0.0),
    generated=counts,
    prefilled=counts,
    iterations=counts,
    running=counts,
    waiting=counts,
    relayed=counts,
    in_flight=st.none() | st.integers(0, 3),
    answers=st.none() | st.booleans(),
)
histories = st.lists(st.tuples(samples, st.floats(0.1, 4.0)), min_size=1, max_size=30)


def place(history: Sequence[tuple[Progress, float]]) -> list[Progress]:
    at, placed = 100.0, []
    for sample, wait in history:
        at += wait
        placed.append(replace(sample, at=at))
    return placed


@given(histories, st.none() | st.floats(90.0, 200.0))
def test_a_stall_is_never_longer_than_the_time_that_was_watched(
    history: list[tuple[Progress, float]], busy_since: float | None
) -> None:
    placed = place(history)
    stall = find_stall(placed, now=placed[-1].at, busy_since=busy_since)
    assert stall is None or 0.0 <= stall <= placed[-1].at - placed[0].at


@given(histories, st.sampled_from(COUNTERS))
def test_one_more_sample_with_progress_always_ends_the_stall(
    history: list[tuple[Progress, float]], counter: str
) -> None:
    placed = place(history)
    last = placed[-1]
    moved = change(replace(last, at=last.at + 1), counter, (last.totals.get(counter) or 0.0) + 1)
    before = change(last, counter, moved.totals[counter] - 1)
    stall = find_stall([*placed[:-1], before, moved], now=moved.at)
    assert stall is None or stall == 0.0


@given(histories)
def test_a_node_where_nobody_waits_never_stalls(history: list[tuple[Progress, float]]) -> None:
    placed = [replace(one, running=0.0, waiting=0.0, in_flight=0) for one in place(history)]
    assert find_stall(placed, now=placed[-1].at) in (None, 0.0)
