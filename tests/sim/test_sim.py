"""A slice of `make sim`: whatever happens to a node, every invariant holds, and whatever may happen does."""

from collections import Counter

import pytest

from tests.sim.__main__ import read_kept
from tests.sim.coverage import find_unreached
from tests.sim.play import play, replay
from tests.sim.watched import play_watched

SEED, SCHEDULES = 7, 3000


@pytest.fixture(scope="module")
def seen() -> Counter[str]:
    counted: Counter[str] = Counter()
    play(SEED, range(SCHEDULES), counted)
    return counted


def test_every_invariant_holds_after_every_step_and_every_recovery(seen: Counter[str]) -> None:
    assert seen["case I12 at rest"] == SCHEDULES


def test_all_that_may_happen_to_a_node_happens_in_the_slice(seen: Counter[str]) -> None:
    assert find_unreached(seen) == []


@pytest.mark.parametrize(("seed", "number"), read_kept())
def test_a_schedule_that_once_broke_an_invariant_does_not_do_so_again(seed: int, number: int) -> None:
    play(seed, [number], Counter())


def test_the_agents_watch_does_nothing_that_the_truth_does_not_bear_out() -> None:
    counted: Counter[str] = Counter()
    for number in range(6):
        play_watched(SEED, number, counted)
    assert counted["watch calls proven"]
    assert counted["watch calls restart"]
    assert counted["watch calls rollback"]


def test_a_replay_tells_every_step_and_is_the_same_each_time() -> None:
    told: list[list[str]] = [[], []]
    for lines in told:
        assert replay(SEED, 3, tell=lines.append)
    assert told[0] == told[1]
    assert any("journal" in line for line in told[0])
    assert told[0][-1].startswith("held; active ")
