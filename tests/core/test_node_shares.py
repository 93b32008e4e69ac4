"""The brain of a node, part two: canaries and their shares, releases that come in alone, and the end of all trying."""

from dataclasses import replace
from typing import Any

import pytest
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.events import (
    Activate,
    Aged,
    Clear,
    Done,
    Effect,
    Event,
    Failed,
    Forget,
    Halt,
    Lanes,
    Link,
    Proven,
    Refuted,
    Resumed,
    Rollback,
    Start,
    Stop,
    Widen,
)
from dsops.core.lanes import LANES, SHARES, find_lanes
from dsops.core.node import find_hot, pending_effects, step
from dsops.core.state import TURNS, WAITS, Active, Epoch, Held, Kind, Move, NodeState, Stage, Step, to_data

from tests.core.test_node import POLICY, A, B, C, D, Node, active, bake


@pytest.fixture
def node() -> Node:
    """A is past its bake window, B has 5 % of the traffic."""
    node = Node()
    bake(node, A)
    node.bring(B, share=5)
    return node


def get_move(node: Node) -> Move:
    assert node.state.move
    return node.state.move


# --- lanes -------------------------------------------------------------------------------------------------------


def test_lanes_turned_one_by_one_add_up_to_the_shares() -> None:
    assert [sum(LANES[lane] for lane in find_lanes(share)) for share in SHARES] == list(SHARES)
    assert find_lanes(25) == ("l1", "l4", "l20")


@pytest.mark.parametrize("share", [0, 2, 99, 101, -1])
def test_no_other_share_can_be_given(share: int) -> None:
    with pytest.raises(DsopsError, match="no share that lanes can give") as caught:
        find_lanes(share)
    assert caught.value.mend == "one of 1, 5, 25, 50, 100"


# --- a canary ----------------------------------------------------------------------------------------------------


def test_a_canary_gets_its_share_and_waits(node: Node) -> None:
    assert (node.world.share_of(B), node.world.share_of(A)) == (5, 95)
    assert get_move(node).step is Step.CANARY
    assert (get_move(node).share, get_move(node).since) == (5, node.at)
    assert active(node) == A
    assert pending_effects(node.state) == ()


def test_it_gets_all_of_it_share_by_share_and_bakes_only_then(node: Node) -> None:
    for share in (25, 50):
        node.at += 60
        node.widen(B, share)
        assert (node.world.share_of(B), node.world.share_of(A)) == (share, 100 - share)
        assert (get_move(node).share, get_move(node).since) == (share, node.at)
    node.at += 60
    node.widen(B, 100)
    assert node.state.active == Active(B, "b", node.at, Stage.BAKING)
    assert (node.state.move, node.state.warm) == (None, "a")
    assert set(node.world.lanes.values()) == {"b"}


def test_the_lanes_that_a_canary_has_stay_while_it_gets_more(node: Node) -> None:
    state, effects = step(node.state, Widen(B, 50, node.at, "kim", "so far good"), POLICY)
    assert effects == (Lanes("b", 50, "a"),)
    assert state.lanes == {}, "nobody can say where they lead while they are turned"
    assert state.move
    assert state.move.step is Step.SWITCH


@pytest.mark.parametrize(
    ("event", "says", "mend"),
    [
        (Widen(C, 25, 0, "kim", "x"), f"{C} is no canary here: {B} is", "dsops rollback"),
        (Widen(B, 5, 0, "kim", "x"), "has 5 % already, not less than 5 %", "only grows"),
        (Widen(B, 1, 0, "kim", "x"), "has 5 % already, not less than 1 %", "only grows"),
        (Widen(B, 30, 0, "kim", "x"), "30 % is no share", "one of 1, 5"),
        (Widen(B, 25, 0, "kim", "x", Epoch(4, "east")), "epoch 4 is older than 5", "epoch adopt"),
        (Widen(B, 25, 0, "kim", "x", Epoch(5, "west")), "held by east", "epoch adopt"),
        (Activate(C, 0, "kim", "x"), "step canary", "widen"),
        (Proven(0, B), "does not wait for its proof", "status"),
        (Refuted(0, "x", False, A), "does not wait for its proof", "status"),
        (Done(0), "the move waits", ""),
        (Forget(B, 0), "in use", "activate another"),
        (Rollback(0, "kim", "x", own=False, lasting=False, to=A), f"{B} is out as a canary", "without --to"),
    ],
)
def test_what_a_canary_does_not_allow_is_refused_with_a_mend(node: Node, event: Event, says: str, mend: str) -> None:
    node.state = replace(node.state, epoch=Epoch(5, "east"))
    with pytest.raises(DsopsError, match=says) as caught:
        step(node.state, event, POLICY)
    assert mend in caught.value.mend


def test_without_a_canary_nothing_is_widened() -> None:
    node = Node()
    bake(node, A)
    with pytest.raises(DsopsError, match="none is out") as caught:
        node.widen(B, 25)
    assert f"activate {B} --share 25" in caught.value.mend
    with pytest.raises(DsopsError, match="has the traffic already"):
        node.widen(A, 25)
    node.activate(B, share=1)
    with pytest.raises(DsopsError, match=r"no canary yet \(step prove\)"):
        node.widen(B, 25)


def test_a_halted_node_widens_nothing_and_still_takes_the_canary_back(node: Node) -> None:
    node.act(Halt("the rack burns"))
    with pytest.raises(DsopsError, match="halted: the rack burns") as caught:
        node.widen(B, 25)
    assert "clear" in caught.value.mend
    node.roll_back(own=True)
    assert (node.state.move, active(node)) == (None, A)


def person(node: Node) -> Event:
    return Rollback(node.at, "kim", "slow", own=False, lasting=False)


def dsops(node: Node) -> Event:
    return Rollback(node.at, "dsops", "three BAD", own=True, lasting=False)


def refuted(node: Node) -> Event:
    return Refuted(node.at, "wrong answers", lasting=True, release=B)


@pytest.mark.parametrize("make", [person, dsops, refuted])
@pytest.mark.parametrize("cut", [None, 0, 1, 2])
def test_a_refused_canary_loses_its_lanes_first_and_then_stops(node: Node, make: Any, cut: int | None) -> None:
    before, since = node.state.active, len(node.served)
    node.act(make(node), cut=cut)
    assert all(serving <= {A, B} for serving in node.served[since:])
    assert (node.state.move, node.state.active) == (None, before)
    assert (node.world.share_of(A), node.world.loaded) == (100, {"a": A})
    assert node.state.find_bad(B, at=node.at)
    assert node.state.slots == (Held("a", A), Held("b"))
    assert (node.state.rollbacks, node.state.halted) == ((), "")
    with pytest.raises(DsopsError, match="marked bad here"):
        node.activate(B, share=1)


def test_it_returns_before_anything_else_is_done(node: Node) -> None:
    state, effects = step(node.state, refuted(node), POLICY)
    assert state.move
    assert state.move.step is Step.RETURN
    assert effects == (Lanes("a"),)
    with pytest.raises(DsopsError, match="just led back"):
        step(state, person(node), POLICY)
    state, effects = step(state, Done(node.at), POLICY)
    assert effects == (Stop("b"), Link("b", ""))


def test_a_node_without_budget_for_rollbacks_takes_its_canary_back(node: Node) -> None:
    node.state = replace(node.state, rollbacks=(node.at, node.at))
    node.roll_back(own=True)
    assert (node.state.move, len(node.state.rollbacks)) == (None, 2)


def test_time_does_nothing_to_a_canary(node: Node) -> None:
    before = node.state
    node.pass_time(POLICY.known_good_seconds)
    assert node.state == before


def test_a_canary_lies_hot(node: Node) -> None:
    assert B in find_hot(node.state, at=node.at)


def test_a_share_needs_an_active_release_beside_it() -> None:
    node = Node()
    with pytest.raises(DsopsError, match="nothing has the traffic here") as caught:
        node.activate(A, share=5)
    assert caught.value.mend == "activate it without a share"
    bake(node, A)
    with pytest.raises(DsopsError, match="alone gets all of the traffic"):
        node.activate(B, share=5, alone=True)
    with pytest.raises(DsopsError, match="7 % is no share"):
        node.activate(B, share=7)


def test_a_canary_that_is_refuted_before_it_has_a_share_never_turns_a_lane() -> None:
    node = Node()
    bake(node, A)
    node.activate(B, share=1)
    node.act(Refuted(node.at, "wrong", lasting=True))
    assert (node.world.share_of(A), node.world.loaded, node.state.move) == (100, {"a": A}, None)


# --- alone ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def full() -> Node:
    """A serves on a node without memory for two; B starts alone."""
    node = Node()
    bake(node, A)
    node.activate(B, alone=True)
    return node


def test_alone_the_active_slot_stops_before_the_new_one_starts() -> None:
    node = Node()
    bake(node, A)
    _, effects = step(node.state, Activate(B, node.at, "kim", "new", alone=True), POLICY)
    assert effects == (Stop("a", wait=True), Stop("b"), Link("b", B), Start("b"))


def test_alone_it_gets_all_of_the_traffic_once_it_is_proven(full: Node) -> None:
    assert full.world.loaded == {"b": B}
    full.act(Proven(full.at))
    assert (full.world.serves, full.state.warm, full.state.move) == (B, "", None)
    assert full.state.active == Active(B, "b", full.at, Stage.BAKING, alone=True)
    assert [one.release for one in full.state.fallbacks] == [A]


def test_refuted_alone_the_old_one_starts_again_and_is_proven_before_it_serves(full: Node) -> None:
    before = full.state.active
    full.act(Refuted(full.at, "wrong", lasting=True))
    assert (get_move(full).kind, get_move(full).release, get_move(full).step) == (Kind.ROLLBACK, A, Step.PROVE)
    assert full.world.loaded == {"a": A}, "the refuted one stopped first"
    assert full.state.find_bad(B, at=full.at)
    full.act(Proven(full.at, A))
    assert (full.world.serves, full.state.move, full.state.active) == (A, None, before)
    assert (full.state.halted, full.state.fallbacks, full.state.rollbacks) == ("", (), ())
    full.bring(C, alone=True)
    assert active(full) == C


def test_called_off_alone_the_old_one_starts_again_too(full: Node) -> None:
    full.roll_back(own=False)
    assert get_move(full).release == A
    full.act(Proven(full.at))
    assert (full.world.serves, full.state.move) == (A, None)


def test_what_cannot_start_alone_brings_the_old_one_back_without_a_mark() -> None:
    node = Node()
    bake(node, A)
    node.state, _ = step(node.state, Activate(B, node.at, "kim", "new", alone=True), POLICY)
    node.act(Failed(node.at, "the disk is full"))
    assert (get_move(node).release, node.state.bad) == (A, ())
    node.act(Proven(node.at))
    assert node.world.serves == A


def test_when_the_old_one_does_not_come_back_either_the_node_halts(full: Node) -> None:
    full.act(Refuted(full.at, "wrong", lasting=True))
    full.act(Refuted(full.at, "did not load", lasting=False))
    assert full.state.halted == f"rollback to {A} failed: did not load"
    assert (full.state.move, active(full)) == (None, A)
    assert full.state.release_in("a") == A
    assert not full.state.find_bad(A, at=full.at)
    full.act(Clear())
    full.bring(C, alone=True)
    assert active(full) == C


def test_dsops_does_not_judge_a_release_that_it_stopped(full: Node) -> None:
    with pytest.raises(DsopsError, match="no fault of its release"):
        full.roll_back(own=True)


def test_a_release_that_came_alone_is_left_alone(full: Node) -> None:
    full.act(Proven(full.at))
    state, effects = step(full.state, dsops(full), POLICY)
    assert effects == (Stop("b", wait=True), Stop("a"), Link("a", A), Start("a"))
    assert state.move
    full.roll_back()
    full.act(Proven(full.at))
    assert (full.world.serves, full.world.loaded) == (A, {"a": A})
    assert full.state.active
    assert full.state.active.alone, "neither has room beside the other"


def test_where_even_the_way_back_fails_alone_what_was_left_serves_again_and_dsops_halts(full: Node) -> None:
    full.act(Proven(full.at))
    full.roll_back()
    full.act(Refuted(full.at, "did not load", lasting=False))
    assert get_move(full).release == B
    full.act(Proven(full.at))
    assert (full.world.serves, full.state.move) == (B, None)
    assert full.state.halted == f"rollback to {A} failed: did not load"


def test_on_an_empty_node_alone_means_nothing() -> None:
    node = Node()
    node.bring(A, alone=True)
    assert node.state.active == Active(A, "a", node.at, Stage.BAKING)


# --- the end of all trying (R12) ------------------------------------------------------------------------------------


def begin(kind: str) -> NodeState:
    """A move of this kind at its first step with effects."""
    node = Node()
    bake(node, A)
    if kind == "rollback":
        bake(node, B)
    events: dict[str, Event] = {
        "activate": Activate(C, node.at, "kim", "new"),
        "canary": Activate(C, node.at, "kim", "new", share=1),
        "alone": Activate(C, node.at, "kim", "new", alone=True),
        "rollback": Rollback(node.at, "dsops", "three BAD", own=True, lasting=False),
    }
    return step(node.state, events[kind], POLICY)[0]


def try_on(state: NodeState, *, times: int = 2 * TURNS + 8) -> tuple[NodeState, int]:
    """As if each try to do the step's effects were killed; the state at the end, and how often it tried in vain."""
    tries = 0
    for _ in range(times):
        if state.move is None or state.move.step in (*WAITS, Step.TIDY):
            return state, tries
        tries += 1
        state, _ = step(state, Resumed(1.0), POLICY)
    return state, tries


@pytest.mark.parametrize(("kind", "most"), [("activate", 33), ("canary", 33), ("rollback", 33), ("alone", 66)])
def test_a_start_that_kills_the_node_each_time_is_given_up_and_halts(kind: str, most: int) -> None:
    state, tries = try_on(begin(kind))
    assert tries <= most
    assert "given up after 32 transitions, the last state: start" in state.halted
    assert state.active
    assert state.active.release == (B if kind == "rollback" else A), "what served serves"
    assert state.release_in(state.active.slot) == state.active.release
    if state.move:
        assert pending_effects(state) == (Stop(state.move.slot), Link(state.move.slot, ""))
        state, _ = step(state, Done(1.0), POLICY)
    assert state.move is None


@pytest.mark.parametrize("share", [1, 100])
def test_lanes_that_cannot_be_turned_for_long_lead_back_and_the_node_halts(share: int) -> None:
    node = Node()
    bake(node, A)
    node.activate(B, share=share)
    state, effects = step(node.state, Proven(node.at), POLICY)
    for _ in range(TURNS):
        state, effects = step(state, Resumed(node.at), POLICY)
    assert "the last state: switch" in state.halted
    assert state.move
    assert (state.move.step, effects) == (Step.RETURN, ())
    assert pending_effects(state) == (Lanes("a"),)
    again, _ = step(state, Resumed(node.at), POLICY)
    assert step(again, Resumed(node.at), POLICY)[0] == again, "it tries on, since lanes must lead somewhere, unwritten"


def test_the_longest_ordinary_move_is_far_from_the_end(node: Node) -> None:
    for share in (25, 50):
        node.widen(B, share)
    assert get_move(node).turns <= TURNS // 3
    node.widen(B, 100)
    assert node.state.halted == ""


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_a_known_good_release_remembers_what_surrounded_it() -> None:
    node = Node()
    bake(node, A)
    assert node.state.active
    assert node.state.active.environment == ""
    node.at += POLICY.known_good_seconds
    node.act(Aged(node.at, environment="0123456789ab"))
    node.act(Aged(node.at, environment="ba9876543210"))
    assert node.state.active.environment == "0123456789ab"
    bake(node, B)
    node.bring(A)
    assert node.state.active.environment == "0123456789ab"


def test_a_state_of_an_older_dsops_reads_and_an_older_one_reads_an_idle_state(node: Node) -> None:
    old: dict[str, Any] = {
        "active": {"release": A, "slot": "a", "since": 0.0, "stage": "known_good"},
        "move": {
            "kind": "activate",
            "release": B,
            "slot": "b",
            "step": "prove",
            "began": 1.0,
            "who": "kim",
            "reason": "new",
            "stops": "",
            "refuted": "",
        },
    }
    state = decode(NodeState, old, where="record")
    assert state.move == Move(Kind.ACTIVATE, B, "b", Step.PROVE, 1.0, "kim", "new")
    assert to_data(state)["active"] == old["active"]
    assert to_data(state)["move"] == old["move"]
    assert decode(NodeState, to_data(node.state), where="record") == node.state


def is_quiet(effects: tuple[Effect, ...]) -> bool:
    return not any(isinstance(one, Stop | Start) for one in effects)


def test_no_engine_starts_or_stops_while_a_canary_waits_or_grows(node: Node) -> None:
    for share in (25, 50, 100):
        state, effects = step(node.state, Widen(B, share, node.at, "kim", "good"), POLICY)
        assert effects
        assert is_quiet(effects)
        assert is_quiet(pending_effects(state))
    node.roll_back(own=False)
    node.bring(D, share=1)
    assert node.world.share_of(D) == 1
