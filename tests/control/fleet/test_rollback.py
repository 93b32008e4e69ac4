"""The plan of a rollback: who is meant, where each goes, how long it takes, and when a node counts as back."""

import dataclasses
import json
from typing import Any

import pytest
from dsops.control.fleet.inventory import Server
from dsops.control.fleet.releases import Listed, get_copy_timeout
from dsops.control.fleet.rollback import (
    Item,
    Ordered,
    Plan,
    Seen,
    decide_plan,
    judge_return,
    parse_answer,
)
from dsops.core.errors import DsopsError
from dsops.core.state import Active, Kind, Move, NodeState, Stage, Step, to_data
from dsops.core.status import Condition, NodeStatus, Phase, Proof, Slot, Verdict
from dsops.core.tiers import Way

from tests.core.test_status import make_status

OLD, NEW, OLDER = "r00000000000a", "r00000000000b", "r00000000000c"
PROOF = Proof(NEW, 1.0, 12, 12, 6.0, 800.0, ())
BACK = (Listed(NEW, "active", since=50.0), Listed(OLD, "fallback", since=10.0))


def fine(name: str, **changes: Any) -> NodeStatus:
    """A node that serves NEW for long, with OLD as its way back."""
    quiet = {
        "release": NEW,
        "condition_reason": "",
        "verdict": Verdict.OK,
        "strikes": 0,
        "ejected": None,
        "baking_until": None,
        "fallback": OLD,
        "halted": "",
        "findings": (),
        "slots": (Slot("a", NEW, "active", Phase.SERVING, ""), Slot("b", OLD, "inactive", Phase.STOPPED, "")),
        "slot": "a",
        "proof": PROOF,
        "observed_at": 100.0,
    }
    return dataclasses.replace(make_status(node=name), **(quiet | changes))


def see(name: str, *, listed: tuple[Listed, ...] | None = BACK, silent: bool = False, **changes: Any) -> Seen:
    server = Server(name, ("gpu",), {}, f"f: {name}")
    return Seen(server, None if silent else fine(name, **changes), listed, "" if listed is not None else "refused")


def names(plan: Plan) -> list[str]:
    return [item.server.name for item in plan.items]


def stays(plan: Plan) -> dict[str, str]:
    return {server.name: why for server, why in plan.stays}


def test_the_sick_ones_and_those_on_trial_go_the_sick_first() -> None:
    plan = decide_plan(
        [see("gpu1", baking_until=820.0), see("gpu2"), see("gpu3", ejected="sum: wrong", baking_until=820.0)],
        is_named=False,
    )
    assert names(plan) == ["gpu3", "gpu1"]
    assert [item.why for item in plan.items] == ["ejected: sum: wrong", "on trial, 12 min left"]
    assert stays(plan) == {"gpu2": "serves as it should"}


@pytest.mark.parametrize(
    "changes",
    [
        {"condition": Condition.WRONG, "condition_reason": "sum: wrong"},
        {"condition": Condition.HUNG},
        {"condition": Condition.FAILED},
        {"verdict": Verdict.BAD},
        {"ejected": "crashed"},
    ],
)
def test_any_sickness_makes_a_node_meant(changes: dict[str, Any]) -> None:
    assert names(decide_plan([see("gpu1"), see("gpu2", **changes)], is_named=False)) == ["gpu2"]


@pytest.mark.parametrize("condition", [Condition.OK, Condition.MAINTENANCE, Condition.DEGRADED, Condition.BLIND])
def test_what_is_not_sick_is_not_meant_while_another_is(condition: Condition) -> None:
    plan = decide_plan([see("gpu1", condition=condition), see("gpu2", ejected="crashed")], is_named=False)
    assert names(plan) == ["gpu2"]


def test_when_all_are_well_those_with_the_newest_release_are_meant() -> None:
    behind = (Listed(OLD, "active", since=10.0), Listed(OLDER, "fallback", since=1.0))
    plan = decide_plan([see("gpu1"), see("gpu2", listed=behind, release=OLD), see("gpu3")], is_named=False)
    assert names(plan) == ["gpu1", "gpu3"]
    assert {item.leaves for item in plan.items} == {NEW}


def test_who_is_named_is_meant_however_well() -> None:
    plan = decide_plan([see("gpu2")], is_named=True)
    assert [(item.leaves, item.to, item.why) for item in plan.items] == [(NEW, OLD, "asked for")]


def test_a_silent_agent_alone_moves_nothing_but_its_release_may_be_suspect_elsewhere() -> None:
    others = [see("gpu1"), see("gpu2", silent=True)]
    assert names(decide_plan([*others, see("gpu3", ejected="crashed")], is_named=False)) == ["gpu3", "gpu2"]
    behind = (Listed(OLD, "active", since=60.0), Listed(OLDER, "fallback", since=1.0))
    elsewhere = [see("gpu1", ejected="crashed"), see("gpu2", silent=True, listed=behind)]
    assert names(decide_plan(elsewhere, is_named=False)) == ["gpu1"]


def test_where_the_agent_is_silent_the_store_tells_the_way_back() -> None:
    (item,) = decide_plan([see("gpu1", silent=True)], is_named=True).items
    assert (item.to, item.is_warm, item.seconds, item.why) == (OLD, None, None, "its agent does not answer")
    two = (*BACK, Listed(OLDER, "fallback"))
    (item,) = decide_plan([see("gpu1", silent=True, listed=two)], is_named=True).items
    assert item.to == "", "only the node knows which of two"


def test_an_activation_under_way_is_called_off_also_where_there_is_no_other_way_back() -> None:
    slots = (Slot("a", OLD, "active", Phase.SERVING, ""), Slot("b", NEW, "active", Phase.LOADING, ""))
    move = f"activate of {NEW} in slot b by me (step prove)"
    node = see("gpu1", release=OLD, slots=slots, move=move, listed=(Listed(OLD, "active"), Listed(NEW, "held")))
    plan = decide_plan([node, see("gpu2")], is_named=False)
    assert [dataclasses.astuple(item)[1:] for item in plan.items] == [
        (NEW, OLD, Way.WARM, 1.0, f"{NEW} is being activated", None)
    ]
    assert decide_plan([node], is_named=True, to=OLDER).items == ()


def test_a_node_without_a_way_back_stays_and_says_why() -> None:
    plan = decide_plan(
        [
            see("gpu1", listed=None),
            see("gpu2", listed=()),
            see("gpu3", listed=(Listed(NEW, "active"), Listed(OLD, "bad"), Listed(OLDER, "held"))),
        ],
        is_named=True,
    )
    assert plan.items == ()
    assert stays(plan) == {
        "gpu1": "cannot be reached by SSH: refused",
        "gpu2": "nothing is active there",
        "gpu3": "has nothing to go back to",
    }


def test_a_release_of_ones_choice_must_be_a_way_back() -> None:
    older = (*BACK, Listed(OLDER, "fallback"))
    plan = decide_plan([see("gpu1", listed=older), see("gpu2")], is_named=True, to=OLDER)
    assert [(item.server.name, item.to) for item in plan.items] == [("gpu1", OLDER)]
    assert stays(plan) == {"gpu2": f"{OLDER} is no release that it can go back to"}


def test_a_warm_slot_takes_a_second_and_any_other_what_loading_took() -> None:
    running = (Slot("a", NEW, "active", Phase.SERVING, ""), Slot("b", OLD, "active", Phase.SERVING, ""))
    plan = decide_plan([see("gpu1", slots=running), see("gpu2"), see("gpu3", proof=None)], is_named=True)
    assert [(item.is_warm, item.seconds) for item in plan.items] == [(True, 1.0), (False, 9.0), (False, None)]


def tell(release: str, state: str, **more: Any) -> Listed:
    """As a node with a cold tier tells it."""
    plain: dict[str, Any] = {"since": 10.0, "way": "hot", "seconds": 63.0, "copy_seconds": 0.0}
    return Listed(release, state, **(plain | more))


def test_a_target_on_the_cold_tier_takes_its_copy_besides() -> None:
    cold: dict[str, Any] = {
        "tier": "cold",
        "way": "cold",
        "seconds": 663.0,
        "copy_seconds": 600.0,
        "bytes": 60_000_000_000,
    }
    far = tell(OLD, "fallback", **cold)
    plan = decide_plan(
        [see("gpu1", listed=(BACK[0], far)), see("gpu2", listed=(BACK[0], far), proof=None)], is_named=True
    )
    assert [(item.way, item.seconds, item.copy) for item in plan.items] == [
        (Way.COLD, 609.0, far),
        (Way.COLD, 663.0, far),
    ]
    promised = dataclasses.replace(far, passport=True, seconds=607.0)
    (item,) = decide_plan([see("gpu1", listed=(BACK[0], promised))], is_named=True).items
    assert item.seconds == 607.0
    assert get_copy_timeout(promised) == 600 + 4 * 600
    (item,) = decide_plan([see("gpu1", listed=(BACK[0], far), silent=True)], is_named=True).items
    assert (item.to, item.way, item.seconds) == (OLD, Way.COLD, 663.0)


def test_the_store_says_best_where_its_rollback_goes() -> None:
    """The agent does not know that the newest good release lies cold."""
    listed = (BACK[0], tell(OLD, "fallback", tier="cold", way="cold"), tell(OLDER, "fallback", back=True))
    (item,) = decide_plan([see("gpu1", listed=listed)], is_named=True).items
    assert (item.to, item.way) == (OLDER, Way.HOT)
    (item,) = decide_plan([see("gpu1", listed=listed, silent=True)], is_named=True).items
    assert (item.to, item.way, item.seconds) == (OLDER, Way.HOT, 63.0)


def test_a_slot_that_only_loads_is_not_warm() -> None:
    loading = (Slot("a", NEW, "active", Phase.SERVING, ""), Slot("b", OLD, "active", Phase.LOADING, ""))
    assert decide_plan([see("gpu1", slots=loading)], is_named=True).items[0].is_warm is False


TO_OLD = Ordered(OLD)


def test_a_node_is_back_when_it_serves_the_older_release() -> None:
    assert judge_return(fine("gpu1", release=OLD), TO_OLD) == ""
    assert judge_return(fine("gpu1", release=OLD, drained="fans (ann)"), TO_OLD) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"move": "rollback to r1 (step prove)"}, "rollback to r1 (step prove)"),
        ({}, f"{NEW} has the traffic"),
        ({"release": ""}, "nothing has the traffic"),
        ({"release": OLD, "phase": Phase.LOADING}, "loading"),
        ({"release": OLD, "phase": Phase.LOADING, "phase_reason": "not ready"}, "loading: not ready"),
        ({"release": OLD, "ejected": "crashed"}, "ejected: crashed"),
    ],
)
def test_until_then_it_says_what_is_missing(changes: dict[str, Any], said: str) -> None:
    assert judge_return(fine("gpu1", **changes), TO_OLD) == said


def test_a_node_that_gave_up_is_not_waited_for() -> None:
    with pytest.raises(DsopsError, match="it gave up: rollback to r1 failed") as caught:
        judge_return(fine("gpu1", halted="rollback to r1 failed: slow"), TO_OLD)
    assert "dsops why gpu1" in caught.value.mend


def test_one_that_was_halted_before_is_waited_for() -> None:
    halted = fine("gpu1", halted="twice a day")
    assert judge_return(halted, Ordered(OLD, "twice a day")) == f"{NEW} has the traffic"
    assert judge_return(dataclasses.replace(halted, move="rollback"), TO_OLD) == "rollback"


ITEM = Item(Server("gpu1", ("gpu",), {}, "f"), NEW, OLD, None, None, "")


def test_the_nodes_answer_says_where_it_goes() -> None:
    moving = NodeState(move=Move(Kind.ROLLBACK, OLDER, "b", Step.PROVE, 1.0, "me", "x"), halted="h")
    assert parse_answer(json.dumps({"state": to_data(moving)}), ITEM, where="gpu1") == Ordered(OLDER, "h")
    there = NodeState(active=Active(OLDER, "b", 1.0, Stage.KNOWN_GOOD))
    assert parse_answer(json.dumps({"state": to_data(there)}), ITEM, where="gpu1") == Ordered(OLDER)


def test_an_activation_that_was_called_off_leaves_the_node_where_it_is() -> None:
    tidying = Move(Kind.ACTIVATE, NEW, "b", Step.TIDY, 1.0, "me", "x", stops="b", refuted="rolled back by hand")
    state = NodeState(active=Active(OLD, "a", 1.0, Stage.BAKED), move=tidying)
    assert parse_answer(json.dumps({"state": to_data(state)}), ITEM, where="gpu1") == Ordered(OLD)


@pytest.mark.parametrize("said", ["", "{}", '{"state": 1}', '{"state": {"new": 1}}', "[]"])
def test_an_answer_without_a_state_leaves_the_plans_word(said: str) -> None:
    assert parse_answer(said, ITEM, where="gpu1") == Ordered(OLD)
