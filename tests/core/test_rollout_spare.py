"""Empty nodes in a rollout: a spare one goes first where nobody else can be drained, and is let go when it fails."""

import pytest
from dsops.core.errors import DsopsError
from dsops.core.node import NO_WAY_BACK as WORDS
from dsops.core.rollout_events import Activate, Back, Drain, Effect, Fell, Refused, Seen, Undrain
from dsops.core.rollout_state import Rollout, Rules, Stand, Status

from tests.core.rollouts import NEW, OLD, Fleet, make_fleet

QUICK = Rules(canary_minutes=2, step_minutes=2, min_sample=20)
LOOK = 5.0


def make(count: int, *, alone: tuple[int, ...], empty: tuple[int, ...]) -> Fleet:
    """gpu1 ...; those in `empty` have no release, serve once they got one, and cannot go back from it."""
    fleet = make_fleet(count, alone=alone, per_look=400)
    names = {f"gpu{number}" for number in empty}
    for name in names:
        fleet.nodes[name].tallies = {}
        fleet.change(name, active="", is_serving=False)

    def obeys(effect: Effect) -> bool:
        if isinstance(effect, Activate) and effect.node in names:
            fleet.change(effect.node, is_serving=True)
        return not (isinstance(effect, Back) and effect.node in names)

    fleet.obeys = obeys
    fleet.begin(QUICK)
    return fleet


def run(fleet: Fleet, *, minutes: float = 120) -> Rollout:
    """As a controller does: a refusal is told."""
    assert fleet.rollout
    end = fleet.at + minutes * 60
    while fleet.at < end and not fleet.rollout.is_over:
        for effect in fleet.look(seconds=LOOK):
            if isinstance(effect, Back) and not fleet.obeys(effect):
                fleet.send(Refused(fleet.at, effect.node, WORDS))
    return fleet.rollout


def orders(fleet: Fleet) -> list[str]:
    kinds = (Activate, Back, Drain, Undrain)
    return [f"{type(one).__name__} {one.node}" for one in fleet.told if isinstance(one, kinds)]


def test_a_spare_node_takes_it_whole_and_then_the_only_other_one_is_drained() -> None:
    fleet = make(2, alone=(1,), empty=(2,))
    assert run(fleet).status is Status.DONE
    assert orders(fleet) == ["Activate gpu2", "Drain gpu1", "Activate gpu1", "Undrain gpu1"]
    assert fleet.having == {"gpu1": 100, "gpu2": 100}


@pytest.mark.parametrize("count", [3, 11])
def test_an_empty_node_keeps_nobody_from_being_drained(count: int) -> None:
    fleet = make(count, alone=tuple(range(1, count)), empty=(count,))
    assert run(fleet, minutes=300).status is Status.DONE
    assert orders(fleet)[0] == "Drain gpu1"
    assert len(fleet.having) == count


def test_a_drained_node_does_not_wait_for_its_next_order() -> None:
    fleet = make(2, alone=(1, 2), empty=())
    kinds = [[type(one) for one in fleet.look(seconds=LOOK) if isinstance(one, Drain | Activate)] for _ in range(2)]
    assert kinds == [[Drain], [Activate]]


def test_the_last_that_serves_is_never_drained_for_an_empty_one_that_cannot_come() -> None:
    fleet = make(2, alone=(1,), empty=(2,))
    fleet.obeys = lambda effect: not isinstance(effect, Activate)
    run(fleet)
    assert set(orders(fleet)) == {"Activate gpu2"}


def test_a_spare_node_that_fails_is_let_go_and_the_other_one_never_hears_of_it() -> None:
    fleet = make(2, alone=(1,), empty=(2,))
    fleet.failing = {NEW: 0.5}
    rollout = run(fleet)
    assert rollout.status is Status.ABORTED
    assert orders(fleet) == ["Activate gpu2", "Back gpu2", "Drain gpu2"]
    (fell,) = (one.at for one in fleet.told if isinstance(one, Fell))
    assert fleet.at - fell <= 2 * LOOK, "it is not left to fail until orders are told again"
    assert not fleet.nodes["gpu2"].seen.is_serving
    assert "there is nothing to go back to" in fleet.nodes["gpu2"].seen.drained
    part = rollout.find_part("gpu2")
    assert part
    assert (part.stand, part.reason) == (Stand.LEFT, "drained, for it has nothing to go back to")
    assert fleet.nodes["gpu1"].seen == Seen("gpu1", active=OLD, alone=True)


def test_one_that_refuses_for_the_moment_is_not_let_go() -> None:
    fleet = make(2, alone=(1,), empty=(2,))
    fleet.failing = {NEW: 0.5}
    while not any(isinstance(one, Back) for one in fleet.look(seconds=LOOK)):
        pass
    fleet.send(Refused(fleet.at, "gpu2", "the helper cannot be reached (asked 3 times)"))
    for _ in range(5):
        fleet.look(seconds=LOOK)
    assert not any(isinstance(one, Drain) for one in fleet.told)


def test_where_nobody_else_serves_it_is_a_person_who_lets_it_go() -> None:
    fleet = make(2, alone=(), empty=(1, 2))
    run(fleet, minutes=3)
    fleet.failing = {NEW: 0.5}
    fleet.nodes["gpu1"].count(4000, failing=fleet.failing)
    fleet.change("gpu2", is_serving=False)
    rollout = run(fleet, minutes=60)
    assert rollout.status is Status.ABORTING
    assert not any(one.startswith("Drain") for one in orders(fleet))
    assert rollout.parts[0].reason == f"refuses: {WORDS}"


def test_a_silent_node_is_not_taken_for_an_empty_one() -> None:
    fleet = make_fleet(4, alone=(1, 2, 3, 4), per_look=400)
    fleet.change("gpu4", is_reachable=False, active="")
    fleet.begin(QUICK)
    run(fleet, minutes=30)
    assert fleet.rollout
    assert not fleet.having, "one of four may be out, and one is"
    assert fleet.rollout.said == "step 1 of 5, 1 %: waits: gpu4 of pool gpu are out, 1 may be"
    fleet.change("gpu3", is_serving=False)
    fleet.look()
    assert fleet.rollout.hold == "2 of 4 of pool gpu do not serve, 1 may be out: gpu3, gpu4"


def test_one_that_serves_alone_and_is_no_spare_s_pool_is_refused_before() -> None:
    with pytest.raises(DsopsError, match="gpu1 is the last that serves of pool gpu"):
        make(1, alone=(1,), empty=())
