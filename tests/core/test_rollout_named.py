"""A rollout over some nodes of a pool: the others never hear of it, and count for how many may be out."""

from dataclasses import replace

import pytest
from dsops.core.errors import DsopsError
from dsops.core.rollout import begin
from dsops.core.rollout_events import Abort, Activate, Drain
from dsops.core.rollout_state import Rollout, Rules, Stand, Status
from dsops.core.state import Epoch

from tests.core.rollouts import NEW, OLD, Fleet, make_fleet

QUICK = Rules(canary_minutes=2, step_minutes=2, min_sample=20)


def start(fleet: Fleet, *named: str) -> Rollout:
    look = fleet.make_look()
    others = [name for name in fleet.nodes if name not in named]
    epoch = Epoch(7, "here")
    fleet.rollout = begin(NEW, id="7", who="ann", reason="new", epoch=epoch, rules=QUICK, look=look, others=others)
    return fleet.rollout


def test_only_those_that_are_named_get_it() -> None:
    fleet = make_fleet(5, per_look=400)
    rollout = start(fleet, "gpu2", "gpu4")
    assert [part.node for part in rollout.members] == ["gpu2", "gpu4"]
    rollout = fleet.run(minutes=120)
    assert (rollout.status, rollout.said) == (Status.DONE, "done")
    assert fleet.having == {"gpu2": 100, "gpu4": 100}
    assert {one.node for one in fleet.told if isinstance(one, Activate)} == {"gpu2", "gpu4"}


def test_one_node_that_holds_one_copy_is_drained_while_the_others_serve() -> None:
    fleet = make_fleet(3, alone=(1,), per_look=400)
    start(fleet, "gpu1")
    assert fleet.run(minutes=120).status is Status.DONE
    assert fleet.having == {"gpu1": 100}


def test_it_is_not_drained_while_as_many_of_the_others_are_out_as_may_be() -> None:
    fleet = make_fleet(3, alone=(1,), per_look=400)
    fleet.change("gpu2", is_serving=False)
    start(fleet, "gpu1")
    rollout = fleet.run(minutes=30)
    assert not [one for one in fleet.told if isinstance(one, Drain)]
    assert rollout.said.endswith("waits: gpu2 of pool gpu are out, 1 may be")
    fleet.change("gpu3", is_reachable=False)
    fleet.look()
    assert fleet.rollout
    assert fleet.rollout.hold == "2 of 3 of pool gpu do not serve, 1 may be out: gpu2, gpu3"


def test_a_pool_of_which_too_many_are_out_is_refused_whoever_is_named() -> None:
    fleet = make_fleet(4)
    for name in ("gpu3", "gpu4"):
        fleet.change(name, is_reachable=False)
    with pytest.raises(DsopsError, match="2 of 4 of pool gpu do not serve, 1 may be out: gpu3, gpu4"):
        start(fleet, "gpu1", "gpu2")


def test_what_speaks_against_one_that_is_not_named_speaks_against_nothing() -> None:
    fleet = make_fleet(3)
    fleet.change("gpu3", bad=(NEW,), skew=90.0, is_moving=True)
    start(fleet, "gpu1", "gpu2")


def test_one_that_has_it_already_and_is_not_named_keeps_it_when_the_others_go_back() -> None:
    fleet = make_fleet(3, per_look=400)
    fleet.change("gpu3", active=NEW)
    start(fleet, "gpu1", "gpu2")
    fleet.run(minutes=3)
    fleet.send(Abort(fleet.at, "ann", "no"))
    rollout = fleet.run(minutes=10)
    assert rollout.status is Status.ABORTED
    assert fleet.having == {"gpu3": 100}
    part = rollout.find_part("gpu3")
    assert part
    assert (part.stand, part.is_other) == (Stand.OUT, True)
    assert replace(fleet.nodes["gpu1"].seen, bad=()).active == OLD
