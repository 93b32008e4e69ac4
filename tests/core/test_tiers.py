"""Tiers: what must be quick, what may go cold and in which order, and how long each way takes."""

import pytest
from dsops.core.errors import DsopsError
from dsops.core.events import Cool
from dsops.core.node import find_hot, step
from dsops.core.state import Active, Bad, Held, Kind, Move, NodeState, Policy, Stage, Step
from dsops.core.tiers import Start, Way, choose_old, render_seconds

A, B, C, D, E = (f"r00000000000{letter}" for letter in "abcde")
NOW = 1000.0
SERVES = Active(A, "a", 900.0, Stage.BAKING)
BACK = Active(B, "b", 800.0, Stage.BAKED)
GOOD = Active(C, "a", 700.0, Stage.KNOWN_GOOD)
OLDER = Active(D, "b", 600.0, Stage.KNOWN_GOOD)
STATE = NodeState(slots=(Held("a", A), Held("b", "")), active=SERVES, fallbacks=(BACK, GOOD, OLDER))


def test_the_active_one_the_way_back_and_the_newest_known_good_one_stay_hot() -> None:
    assert find_hot(STATE, at=NOW) == {A, B, C}
    assert find_hot(NodeState(), at=NOW) == frozenset()


def test_a_bad_way_back_gives_its_place_to_the_next() -> None:
    bad = NodeState(active=SERVES, fallbacks=(BACK, GOOD, OLDER), bad=(Bad(B, "x", 1.0), Bad(C, "x", 1.0)))
    assert find_hot(bad, at=NOW) == {A, D}


def test_what_a_slot_holds_or_a_move_brings_stays_hot() -> None:
    move = Move(Kind.ACTIVATE, E, "b", Step.PROVE, 1.0, "kim", "new")
    state = NodeState(slots=(Held("a", A), Held("b", D)), active=SERVES, fallbacks=(BACK,), move=move)
    assert find_hot(state, at=NOW) == {A, B, D, E}


def test_to_go_cold_changes_nothing_that_a_node_must_not_forget() -> None:
    assert step(STATE, Cool(D, NOW), Policy()) == (STATE, ())
    with pytest.raises(DsopsError, match=f"{B} must stay on the hot tier") as caught:
        step(STATE, Cool(B, NOW), Policy())
    assert "activate a newer one" in caught.value.mend


def test_bad_ones_go_cold_first_then_what_was_wanted_least_lately() -> None:
    state = NodeState(active=SERVES, fallbacks=(BACK, GOOD, OLDER), bad=(Bad(E, "x", 1.0),))
    came = {A: 1.0, B: 1.0, C: 1.0, D: 1.0, E: 950.0, "r1": 650.0, "r2": 500.0}
    assert choose_old(state, came, at=NOW) == (E, "r2", D, "r1")


def test_what_came_after_the_active_one_got_its_traffic_is_no_old_one() -> None:
    assert choose_old(STATE, {D: 950.0, E: 950.0}, at=NOW) == ()
    assert choose_old(NodeState(), {D: 1.0}, at=NOW) == (), "nothing is old where nothing ever served"


def test_each_way_takes_what_it_must() -> None:
    assert Start(Way.WARM, 60.0).seconds == 1.0
    assert Start(Way.HOT, 60.0, copy=10**12).seconds == 63.0
    cold = Start(Way.COLD, 60.0, copy=30 * 10**9, rate=150e6)
    assert (cold.copy_seconds, cold.seconds) == (200.0, 263.0)
    assert Start(Way.COLD, 0.0, copy=10**8).copy_seconds == 1.0, "100 MB/s until somebody measured"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7000, "117 min"), (9000, "2.5 h")]
)
def test_seconds_are_said_as_people_do(seconds: float, said: str) -> None:
    assert render_seconds(seconds) == said
