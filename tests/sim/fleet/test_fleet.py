"""A slice of the played fleet: how far bad releases come, how canaries are judged. `make sim-fleet` is all of it."""

import pytest
from dsops.core.rollout_state import Status

from tests.sim.fleet.canary import SETTINGS, Setting, play_canaries
from tests.sim.fleet.play import play_rollout
from tests.sim.fleet.score import Score, find_missed


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_canaries_are_judged_right(setting: Setting) -> None:
    # 120 of each: three standard deviations above the goals of 5 % missed and 1 % false aborts.
    assert play_canaries(setting, new=0.01, old=0.001, count=120, seed=7).promoted <= 0.11
    assert play_canaries(setting, new=0.001, old=0.001, count=120, seed=7).aborted <= 0.037
    assert play_canaries(setting, new=0.05, old=0.001, count=120, seed=7).promoted == 0


def score_rollouts(*, size: int, faults: float, count: int, rate: float | None = None) -> Score:
    score = Score()
    for number in range(count):
        score.add(play_rollout(f"slice:{number}", size=size, faults=faults, rate=rate))
    return score


@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0])
def test_a_failing_release_stays_on_one_node_of_a_hundred(rate: float) -> None:
    score = score_rollouts(size=100, faults=0.02, count=3, rate=rate)
    assert not find_missed(score, size=100)


@pytest.mark.parametrize("size", [3, 12])
def test_on_an_idle_fleet_the_samples_of_what_bakes_are_enough_for_every_step(size: int) -> None:
    told: list[str] = []
    play = play_rollout("slice:4", size=size, faults=0.0, rate=0.0, tell=told.append, is_idle=True)
    assert play.rollout.status is Status.DONE
    # Five bakes of half an hour; a step that finds too few samples would wait for three of them.
    minutes = (play.at - play.rollout.began) / 60
    assert minutes <= 5 * 30 * 1.6, told


def test_an_idle_fleet_that_cannot_hold_two_copies_is_no_rollout_without_an_end() -> None:
    play = play_rollout("slice:0", size=3, faults=0.0, rate=0.0, is_idle=True)
    assert all(server.alone for server in play.servers.values())
    assert play.rollout.status is Status.DONE


def test_on_an_idle_fleet_what_fails_only_with_all_of_the_traffic_is_found_in_its_bake() -> None:
    plays = [play_rollout(f"bad:{number}", size=12, faults=0.0, rate=0.05, is_idle=True) for number in range(40)]
    late = [play for play in plays if play.is_late]
    assert len(late) == 8
    assert {play.rollout.status for play in late} == {Status.ABORTED}
    assert max(len(play.reached) for play in late) <= 3


@pytest.mark.slow
@pytest.mark.parametrize(("size", "faults"), [(1, 0.05), (3, 0.1), (12, 0.2)])
def test_whatever_breaks_nothing_happens_that_may_not(size: int, faults: float) -> None:
    score = score_rollouts(size=size, faults=faults, count=6)
    assert score.looks
    assert not score.broken


def test_a_played_rollout_is_the_same_for_the_same_seed() -> None:
    first, second = (play_rollout("again", size=10, faults=0.1) for _ in range(2))
    assert (first.rollout, first.looks, first.told) == (second.rollout, second.looks, second.told)
