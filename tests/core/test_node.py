"""The brain of a node: what may happen, what follows, and what holds whenever a kill comes."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.events import (
    Activate,
    Adopt,
    Aged,
    Clear,
    Confirm,
    Cool,
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
    Restarted,
    Resumed,
    Rollback,
    Start,
    Stop,
    Take,
    Unmark,
    Widen,
)
from dsops.core.lanes import LANES, SHARES, find_lanes
from dsops.core.node import FINGERPRINT, find_hot, find_target, pending_effects, step
from dsops.core.state import (
    ACTS,
    FALLBACKS,
    MARKS,
    TURNS,
    WAITS,
    Active,
    Bad,
    Epoch,
    Held,
    Kind,
    Move,
    NodeState,
    Policy,
    Stage,
    Step,
    clip,
    to_data,
)
from dsops.core.tiers import choose_old
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

POLICY = Policy(bake_seconds=100, known_good_seconds=1000, bad_seconds=500)
IDS = [f"r{number:012x}" for number in range(6)]
A, B, C, D = IDS[:4]


@dataclass
class World:
    """What effects change. loaded: slot -> release of the Triton that runs there; lanes: lane -> slot."""

    links: dict[str, str] = field(default_factory=dict)
    loaded: dict[str, str] = field(default_factory=dict)
    lanes: dict[str, str] = field(default_factory=dict)

    def do(self, effect: Effect) -> None:
        match effect:
            case Link(slot, release):
                self.links[slot] = release
            case Start(slot):
                self.loaded[slot] = self.links[slot]
            case Stop(slot):
                self.loaded.pop(slot, None)
            case Lanes(slot, share, other):
                self.lanes = {lane: slot if lane in find_lanes(share) else other for lane in LANES}

    @property
    def serving(self) -> set[str]:
        """The releases that answer clients now; "" where nothing answers on a lane."""
        return {self.loaded.get(slot, "") for slot in self.lanes.values()} or {""}

    @property
    def serves(self) -> str:
        """The release that answers on the lane that a canary gets last."""
        return self.loaded.get(self.lanes.get("l50", ""), "")

    def share_of(self, release: str) -> int:
        """Percent of the traffic that it answers."""
        return sum(LANES[lane] for lane, slot in self.lanes.items() if self.loaded.get(slot) == release)


@dataclass
class Node:
    """A helper with a journal of one record. `cut`: dies after so many effects, once, and recovers."""

    state: NodeState = field(default_factory=NodeState)
    world: World = field(default_factory=World)
    at: float = 1_700_000_000.0
    seen: list[str] = field(default_factory=list)
    served: list[set[str]] = field(default_factory=list)

    def act(self, event: Event, *, cut: int | None = None, keep_warm: bool = True) -> None:
        self.state, _ = step(self.state, event, POLICY)
        left = cut
        while (move := self.state.move) and move.step not in WAITS:
            for effect in pending_effects(self.state):
                if left == 0:
                    break
                left = None if left is None else left - 1
                self.world.do(effect)
                self.seen.append(self.world.serves)
                self.served.append(self.world.serving)
            else:
                self.state, _ = step(self.state, Done(self.at, keep_warm=keep_warm), POLICY)
                continue
            left = None  # killed here; the same step is done again
            self.state, _ = step(self.state, Resumed(self.at), POLICY)

    def activate(self, release: str, *, share: int = 100, alone: bool = False, **more: Any) -> None:
        self.act(Activate(release, self.at, "kim", "new", share=share, alone=alone), **more)

    def bring(self, release: str, **more: Any) -> None:
        """Activates and proves."""
        self.activate(release, **more)
        self.act(Proven(self.at))

    def widen(self, release: str, share: int) -> None:
        self.act(Widen(release, share, self.at, "kim", "so far good"))

    def pass_time(self, seconds: float) -> None:
        self.at += seconds
        self.act(Aged(self.at))

    def roll_back(self, *, own: bool = True, **more: Any) -> None:
        warm = tuple(self.world.loaded)
        self.act(Rollback(self.at, "dsops", "three BAD", own=own, lasting=False, warm=warm, **more))


def bake(node: Node, release: str) -> None:
    node.bring(release)
    node.pass_time(POLICY.bake_seconds)


@pytest.fixture
def node() -> Node:
    """A is past its bake window, B bakes, A is warm."""
    node = Node()
    bake(node, A)
    node.bring(B)
    return node


def active(node: Node) -> str:
    assert node.state.active
    return node.state.active.release


# --- activate ----------------------------------------------------------------------------------------------------


def test_a_first_release_gets_traffic_only_once_it_was_proven() -> None:
    node = Node()
    node.activate(A)
    assert node.state.move == Move(Kind.ACTIVATE, A, "a", Step.PROVE, node.at, "kim", "new", turns=1)
    assert (node.world.loaded, node.world.lanes) == ({"a": A}, {})
    node.act(Proven(node.at, A))
    assert node.world.serves == A
    assert node.state.active == Active(A, "a", node.at, Stage.BAKING)
    assert node.state.move is None


def test_the_next_one_goes_to_the_free_slot_and_the_old_one_stays_warm_until_bake_ends(node: Node) -> None:
    assert node.world.loaded == {"a": A, "b": B}
    assert (node.world.serves, node.state.warm) == (B, "a")
    node.pass_time(POLICY.bake_seconds - 1)
    assert node.world.loaded == {"a": A, "b": B}
    node.pass_time(1)
    assert node.world.loaded == {"b": B}
    assert (node.state.warm, node.state.move) == ("", None)


def test_where_memory_is_short_the_old_one_stops_at_once() -> None:
    node = Node()
    bake(node, A)
    node.activate(B)
    node.act(Proven(node.at), keep_warm=False)
    assert node.world.loaded == {"b": B}
    assert node.state.warm == ""


def test_a_release_that_comes_back_with_its_stage_lets_the_other_slot_go_too(node: Node) -> None:
    node.pass_time(POLICY.bake_seconds)
    node.bring(A)  # was baked before, so nothing bakes now
    assert node.state.active
    assert node.state.active.stage is Stage.BAKED
    assert node.state.warm == "b"
    node.pass_time(POLICY.bake_seconds)
    assert node.world.loaded == {"a": A}


def test_stages_come_one_after_the_other() -> None:
    node = Node()
    node.bring(A)
    stages = []
    for seconds in (99, 1, 899, 1):
        node.pass_time(seconds)
        assert node.state.active
        stages.append(node.state.active.stage)
    assert stages == [Stage.BAKING, Stage.BAKED, Stage.BAKED, Stage.KNOWN_GOOD]
    assert node.state.known_good == (A,)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (Activate(B, 0, "kim", "x"), "has the traffic already"),
        (Activate(D, 0, "kim", "x"), "marked bad here: wrong answers"),
        (Proven(0), "does not wait for its proof"),
        (Refuted(0, "x", False), "does not wait for its proof"),
        (Done(0), "no move is under way"),
        (Unmark(C), "not marked bad here"),
        (Confirm(C), "not marked bad here"),
        (Forget(B, 0), "in a slot"),
        (Forget(A, 0), "in a slot"),
        (Rollback(0, "kim", "x", own=False, lasting=False, to=C), "no release that this node can go back to"),
    ],
)
def test_what_may_not_happen_is_refused_with_its_reason(node: Node, event: Event, says: str) -> None:
    node.state = replace(node.state, bad=(Bad(D, "wrong answers", 0),))
    with pytest.raises(DsopsError, match=says):
        step(node.state, event, POLICY)


def test_two_activates_at_once_are_one_and_a_refusal(node: Node) -> None:
    node.activate(C)
    with pytest.raises(DsopsError, match=f"activate of {C} by kim is under way"):
        node.activate(D)


def test_a_refuted_release_never_gets_traffic_and_is_bad_here(node: Node) -> None:
    node.activate(C)
    node.act(Refuted(node.at, "golden answers fail", lasting=True))
    assert node.world.serves == B
    assert node.world.links["a"] == ""
    assert node.state.find_bad(C, at=node.at + 1e9), "lasting"
    with pytest.raises(DsopsError, match="marked bad here: golden answers fail"):
        node.activate(C)


def test_a_proof_for_another_release_does_not_count(node: Node) -> None:
    node.activate(C)
    with pytest.raises(DsopsError, match="does not wait for its proof"):
        step(node.state, Proven(node.at, D), POLICY)


@pytest.mark.parametrize("late", [Proven, Refuted])
def test_what_was_found_out_for_an_earlier_move_counts_for_no_later_one(node: Node, late: type) -> None:
    node.activate(C)
    assert node.state.move
    began = node.state.move.began
    node.act(Refuted(node.at, "hung", lasting=False, release=C, began=began))
    node.act(Unmark(C))
    node.at += 60
    node.activate(C)
    words = {"reason": "hung", "lasting": True} if late is Refuted else {}
    with pytest.raises(DsopsError, match=f"about an earlier move of {C}"):
        node.act(late(at=node.at, release=C, began=began, **words))
    node.act(Proven(node.at, C, node.state.move.began))
    assert active(node) == C


def test_an_activation_that_cannot_start_is_given_up_without_a_mark(node: Node) -> None:
    node.state, _ = step(node.state, Activate(C, node.at, "kim", "new"), POLICY)
    node.act(Failed(node.at, "the disk is full"))
    assert (node.state.move, node.state.bad, node.world.serves) == (None, (), B)
    node.bring(C)
    assert active(node) == C


# --- rollback ----------------------------------------------------------------------------------------------------


def test_a_rollback_inside_bake_turns_the_lanes_to_the_warm_slot(node: Node) -> None:
    since = len(node.seen)
    node.roll_back()
    assert node.seen[since:] == [A, A]  # lanes, then the stop of the one that failed: nothing loads
    assert node.state.active == Active(A, "a", node.at, Stage.BAKED)
    assert node.world.loaded == {"a": A}
    assert node.state.find_bad(B, at=node.at)
    assert node.state.warm == ""


def test_a_rollback_after_bake_starts_the_old_one_and_waits_for_its_proof(node: Node) -> None:
    node.pass_time(POLICY.bake_seconds)
    node.roll_back()
    assert node.state.move
    assert node.state.move.step is Step.PROVE
    assert node.world.serves == B
    node.act(Proven(node.at, A))
    assert node.world.serves == A
    assert node.world.loaded == {"a": A}


def test_a_rollback_whose_target_fails_halts_the_node(node: Node) -> None:
    node.pass_time(POLICY.bake_seconds)
    node.roll_back()
    node.act(Refuted(node.at, "did not load", lasting=False))
    assert node.state.halted == f"rollback to {A} failed: did not load"
    assert node.world.serves == B
    for own in (
        Rollback(node.at, "dsops", "x", own=True, lasting=False),
        Restarted(node.at),
        Activate(C, node.at, "", ""),
    ):
        with pytest.raises(DsopsError, match="halted"):
            step(node.state, own, POLICY)
    node.act(Clear())
    node.bring(C)
    assert active(node) == C


def test_a_person_who_rolls_back_during_an_activation_calls_it_off_and_keeps_what_serves(node: Node) -> None:
    node.activate(C)
    node.roll_back(own=False)
    assert (active(node), node.state.move) == (B, None)
    assert node.state.find_bad(C, at=node.at)
    assert not node.state.find_bad(B, at=node.at)


def test_the_first_activation_can_be_called_off_too() -> None:
    node = Node()
    node.activate(A)
    node.roll_back(own=False)
    assert (node.state.active, node.state.move, node.world.loaded) == (None, None, {})


def test_when_the_active_one_fails_during_an_activation_dsops_goes_back_by_itself(node: Node) -> None:
    node.pass_time(POLICY.bake_seconds)
    node.activate(C)  # slot a, where A was
    node.roll_back()
    back = Move(Kind.ROLLBACK, A, "a", Step.PROVE, node.at, "dsops", "three BAD", stops="b", turns=1)
    assert node.state.move == back
    assert not node.state.find_bad(C, at=node.at)


def test_a_release_that_baked_is_preferred_to_a_newer_one_that_did_not() -> None:
    node = Node()
    bake(node, A)
    node.bring(B)
    node.bring(C)
    assert find_target(node.state, at=node.at) == A
    assert find_target(node.state, at=node.at, missing=(A,)) == B
    assert find_target(node.state, at=node.at, to=B) == B


def test_nothing_to_go_back_to_says_what_to_do_instead() -> None:
    node = Node()
    with pytest.raises(DsopsError, match="nothing is active"):
        node.roll_back()
    node.bring(A)
    with pytest.raises(DsopsError, match="no good release to go back to") as caught:
        node.roll_back()
    assert "push a good release" in caught.value.mend


def test_dsops_rolls_back_twice_a_day_and_a_person_as_often_as_needed() -> None:
    node = Node()
    for release in (A, B, C, D):
        bake(node, release)
    node.roll_back()
    node.act(Proven(node.at))
    node.roll_back()
    node.act(Proven(node.at))
    with pytest.raises(DsopsError, match="2 times here within a day"):
        node.roll_back()
    node.at -= 3600  # a clock that goes back does not give the budget back
    with pytest.raises(DsopsError, match="2 times here within a day"):
        node.roll_back()
    node.roll_back(own=False)
    assert node.state.move
    assert node.state.move.release == A


def test_a_mark_made_by_itself_ends_and_a_confirmed_one_does_not(node: Node) -> None:
    node.roll_back()
    assert not node.state.find_bad(B, at=node.at + POLICY.bad_seconds)
    node.act(Confirm(B))
    assert node.state.find_bad(B, at=node.at + 1e9)
    node.act(Unmark(B))
    node.bring(B)
    assert active(node) == B


def test_what_has_the_traffic_cannot_be_confirmed_as_bad(node: Node) -> None:
    node.roll_back()
    node.at += POLICY.bad_seconds
    node.bring(B)
    with pytest.raises(DsopsError, match="has the traffic"):
        node.act(Confirm(B))


def test_restarts_have_a_budget_too(node: Node) -> None:
    for _ in range(2):
        node.act(Restarted(node.at))
    with pytest.raises(DsopsError, match="2 times within the hour"):
        node.act(Restarted(node.at))
    node.at += 3600
    node.act(Restarted(node.at))


# --- epochs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "holder", "says"),
    [(4, "east", "older than 5"), (5, "west", "held by east, not west"), (1006, "east", "jumps too far")],
)
def test_a_stale_foreign_or_absurd_epoch_is_refused(number: int, holder: str, says: str) -> None:
    state = NodeState(epoch=Epoch(5, "east"))
    for event in (
        Activate(A, 0, "kim", "x", Epoch(number, holder)),
        Widen(A, 25, 0, "kim", "x", Epoch(number, holder)),
        Rollback(0, "kim", "x", own=False, lasting=False, epoch=Epoch(number, holder)),
        Take(Epoch(number, holder)),
    ):
        with pytest.raises(DsopsError, match=says):
            step(state, event, POLICY)


def test_a_person_may_make_the_node_believe_a_restored_control_host() -> None:
    state, _ = step(NodeState(epoch=Epoch(5000, "old")), Adopt(Epoch(3, "new")), POLICY)
    assert state.epoch == Epoch(3, "new")


# --- what is kept ------------------------------------------------------------------------------------------------


def test_the_way_back_cannot_be_removed_but_older_ones_can() -> None:
    node = Node()
    for release in (A, B, C, D):
        bake(node, release)
    with pytest.raises(DsopsError, match="in a slot"):
        node.act(Forget(C, node.at))
    node.bring(A)  # D is the way back now, C in no slot
    assert find_target(node.state, at=node.at) == D
    node.act(Forget(C, node.at))
    node.act(Forget(B, node.at))
    assert [one.release for one in node.state.fallbacks] == [D]


def test_where_the_way_back_is_lost_the_next_one_is_kept_instead() -> None:
    node = Node()
    for release in (A, B, C, D):
        bake(node, release)
    with pytest.raises(DsopsError, match="would go back to"):
        node.act(Forget(B, node.at, missing=(C,)))
    node.act(Forget(A, node.at, missing=(C,)))


def test_the_way_back_is_kept_even_when_no_slot_holds_it() -> None:
    node = Node()
    bake(node, A)
    bake(node, B)
    node.activate(C)
    node.act(Refuted(node.at, "x", lasting=False))
    assert node.state.slots == (Held("a"), Held("b", B))
    with pytest.raises(DsopsError, match="would go back to"):
        node.act(Forget(A, node.at))


def test_known_good_ones_are_the_last_to_be_forgotten() -> None:
    node = Node()
    bake(node, A)
    node.pass_time(POLICY.known_good_seconds)
    for number in range(100, 100 + 2 * FALLBACKS):
        node.bring(f"r{number:012x}")
    assert len(node.state.fallbacks) == FALLBACKS
    assert A in node.state.known_good


def test_lasting_marks_are_the_last_to_make_room() -> None:
    state = NodeState(bad=(Bad(A, "wrong", 1.0), Bad(B, "ended", 2.0, 3.0)), active=Active(C, "a", 0, Stage.BAKED))
    for number in range(2 * MARKS):
        move = Move(Kind.ACTIVATE, f"r{number + 100:012x}", "b", Step.PROVE, 5, "kim", "x")
        state, _ = step(replace(state, move=move), Refuted(5.0 + number, "x", lasting=False), POLICY)
    assert len(state.bad) == MARKS
    assert state.find_bad(A, at=1e9)
    assert all(bad.release != B for bad in state.bad)


def test_a_lasting_mark_is_never_weakened() -> None:
    state = NodeState(
        slots=(Held("a", A), Held("b")),
        active=Active(A, "a", 0, Stage.BAKED),
        fallbacks=(Active(B, "b", 0, Stage.BAKED),),
        bad=(Bad(A, "wrong answers", 1.0),),
    )
    state, _ = step(state, Rollback(2.0, "dsops", "crashed", own=True, lasting=False), POLICY)
    assert state.find_bad(A, at=1e12)


WORDS = st.text(max_size=400)


@given(WORDS)
def test_words_are_cut_to_a_printable_line(text: str) -> None:
    words = clip(text)
    assert len(json.dumps(words, ensure_ascii=False).encode()) <= 160
    assert words.isprintable()
    assert clip(words) == words


@settings(max_examples=30)
@given(words=WORDS)
def test_the_fullest_state_fits_a_record_with_room_for_the_rest(words: str) -> None:
    said = clip(words + '"' * 400)
    full_active = Active(A, "a", 1_700_000_000.123456, Stage.KNOWN_GOOD, True, clip(said, FINGERPRINT))
    full = NodeState(
        slots=(Held("a", A), Held("b", B)),
        active=full_active,
        fallbacks=(replace(full_active, alone=False),) * FALLBACKS,
        bad=tuple(Bad(A, said, 1_700_000_000.123456, 1_700_000_000.123456) for _ in range(MARKS)),
        move=Move(
            Kind.ROLLBACK, A, "a", Step.START, 1e9 + 0.1234567, said, said, "b", said, 50, True, 1e9 + 0.12345, 32
        ),
        epoch=Epoch(10**15, said),
        rollbacks=(1_700_000_000.123456,) * ACTS,
        restarts=(1_700_000_000.123456,) * ACTS,
        halted=said,
        warm="b",
    )
    assert len(json.dumps(to_data(full), ensure_ascii=False).encode()) < 16384 - 2048


# --- whatever comes, and whenever a kill comes ---------------------------------------------------------------------

releases = st.sampled_from(IDS)
cuts = st.none() | st.integers(0, 4)


class Life(RuleBasedStateMachine):
    """A node to which anything is asked in any order, and whose helper is killed after any effect."""

    def __init__(self) -> None:
        super().__init__()
        self.node = Node()
        self.proven: set[str] = set()
        self.epoch = 0
        self.own: list[float] = []

    def ask(self, event: Event, *, cut: int | None = None, keep_warm: bool = True) -> bool:
        before, good = self.node.state, set(self.node.state.known_good)
        served = self.node.world.serves
        since = len(self.node.served)
        try:
            self.node.act(event, cut=cut, keep_warm=keep_warm)
        except DsopsError:
            assert self.node.state == before
            return False
        self.check_served(since, before, served=served)
        self.check_known_good(event, good, before)
        self.check_epoch(event, before)
        return True

    def check_served(self, since: int, before: NodeState, *, served: str) -> None:
        """At every moment a proven release answers on each lane, and there is one if there was one.

        Unless the traffic is away: then the active slot may be stopped.
        """
        is_away = any(state.move and state.move.alone for state in (before, self.node.state))
        is_away = is_away or (before.active is not None and before.active.alone)
        for serving in self.node.served[since:]:
            assert not served or is_away or "" not in serving
            assert serving - {""} <= self.proven

    def check_known_good(self, event: Event, good: set[str], before: NodeState) -> None:
        lost = good - set(self.node.state.known_good)
        for release in lost:
            left = isinstance(event, Rollback | Proven | Widen) and self.node.state.find_bad(release, at=self.node.at)
            assert left or (isinstance(event, Forget) and event.release == release), f"{release} was lost"

    def check_epoch(self, event: Event, before: NodeState) -> None:
        if not isinstance(event, Adopt):
            assert self.node.state.epoch.number >= before.epoch.number

    @rule(
        release=releases,
        cut=cuts,
        number=st.none() | st.integers(0, 9),
        share=st.sampled_from((100, 100, *SHARES)),
        alone=st.sampled_from((False, False, True)),
    )
    def activate(self, release: str, cut: int | None, number: int | None, share: int, alone: bool) -> None:
        epoch = None if number is None else Epoch(number, "east")
        self.ask(Activate(release, self.node.at, "kim", "new", epoch, share, alone), cut=cut)

    @precondition(lambda self: self.node.state.canary)
    @rule(release=st.none() | releases, cut=cuts, share=st.sampled_from(SHARES), number=st.none() | st.integers(0, 9))
    def widen(self, release: str | None, cut: int | None, share: int, number: int | None) -> None:
        before = self.node.state.canary
        assert before
        epoch = None if number is None else Epoch(number, "east")
        wanted = release or before.release
        if self.ask(Widen(wanted, share, self.node.at, "kim", "so far good", epoch), cut=cut):
            assert share > before.share
            assert self.node.world.share_of(wanted) == share

    @precondition(lambda self: self.node.state.move)
    @rule(cut=cuts, keep_warm=st.booleans())
    def prove(self, cut: int | None, keep_warm: bool) -> None:
        move = self.node.state.move
        assert move
        self.proven.add(move.release)
        self.ask(Proven(self.node.at, move.release), cut=cut, keep_warm=keep_warm)

    @precondition(lambda self: self.node.state.move)
    @rule(cut=cuts, lasting=st.booleans())
    def refute(self, cut: int | None, lasting: bool) -> None:
        self.ask(Refuted(self.node.at, "wrong", lasting), cut=cut)

    @rule(cut=cuts, own=st.booleans(), lasting=st.booleans(), to=st.just("") | releases)
    def roll_back(self, cut: int | None, own: bool, lasting: bool, to: str) -> None:
        before, at = self.node.state, self.node.at
        warm = tuple(self.node.world.loaded)
        asked = self.ask(Rollback(at, "dsops", "BAD", own=own, lasting=lasting, warm=warm, to=to), cut=cut)
        if asked and own and not before.canary:
            self.own.append(at)
        if asked and before.canary:
            assert self.node.state == replace(before, move=None, bad=self.node.state.bad, slots=self.node.state.slots)
            assert self.node.state.find_bad(before.canary.release, at=at)
        after = self.node.state
        if asked and after.active != before.active:
            assert after.active
            assert not after.find_bad(after.active.release, at=at), "rolled back to a bad one"

    @rule(seconds=st.sampled_from([1.0, 99.0, 100.0, 600.0, 1000.0, 100_000.0]), cut=cuts)
    def pass_time(self, seconds: float, cut: int | None) -> None:
        self.node.at += seconds
        self.ask(Aged(self.node.at), cut=cut)

    @rule(release=releases, kind=st.sampled_from(["unmark", "confirm", "forget", "cool"]))
    def mark(self, release: str, kind: str) -> None:
        events: dict[str, Event] = {
            "unmark": Unmark(release),
            "confirm": Confirm(release),
            "forget": Forget(release, self.node.at),
            "cool": Cool(release, self.node.at),
        }
        before = self.node.state
        if self.ask(events[kind]) and kind == "cool":
            assert self.node.state == before, "a release is a way back wherever it lies"

    @rule(event=st.sampled_from([Halt("x"), Clear(), Adopt(Epoch(3, "west")), Take(Epoch(7, "east"))]))
    def decide(self, event: Event) -> None:
        if self.ask(event) and isinstance(event, Clear):
            self.own.clear()

    @rule()
    def restart(self) -> None:
        self.ask(Restarted(self.node.at))

    @invariant()
    def the_lanes_lead_to_the_active_release(self) -> None:
        state, world = self.node.state, self.node.world
        if state.active:
            assert state.release_in(state.active.slot) == state.active.release
            assert state.lanes == world.lanes
            is_stopped = (state.move is not None and state.move.alone) or bool(state.halted)
            assert world.serves == state.active.release or (is_stopped and not world.serves)
            share = state.canary.share if state.canary else 0
            assert world.serves == "" or world.share_of(state.active.release) == 100 - share
        if state.canary:
            assert world.share_of(state.canary.release) == state.canary.share < 100
        assert {slot: release for slot, release in world.links.items() if release} == {
            held.slot: held.release for held in state.slots if held.release
        }

    @invariant()
    def a_warm_slot_runs_what_its_link_says(self) -> None:
        state = self.node.state
        if state.warm:
            assert state.active
            assert state.warm != state.active.slot
            assert self.node.world.loaded.get(state.warm) == state.release_in(state.warm)

    @invariant()
    def what_can_serve_soon_is_kept_hot(self) -> None:
        state, at = self.node.state, self.node.at
        hot = find_hot(state, at=at)
        assert {state.active.release} <= hot if state.active else True
        usable = [one.release for one in state.fallbacks if not state.find_bad(one.release, at=at)]
        assert not (state.active and usable) or len(hot) >= 2, "two that can serve"
        came = dict.fromkeys(IDS, 0.0)
        assert not hot & set(choose_old(state, came, at=at))

    @invariant()
    def only_a_proof_is_waited_for(self) -> None:
        assert self.node.state.move is None or self.node.state.move.step in WAITS
        assert self.node.state.move is None or self.node.state.move.turns <= TURNS

    @invariant()
    def dsops_keeps_its_budget(self) -> None:
        at = self.node.at
        assert sum(at - time < 86400 for time in self.own) <= POLICY.rollbacks_per_day

    @invariant()
    def the_state_comes_back_from_its_record(self) -> None:
        data = json.loads(json.dumps(to_data(self.node.state)))
        assert decode(NodeState, data, where="record") == self.node.state


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestLife = Life.TestCase


@pytest.mark.parametrize("cut", range(8))
@pytest.mark.parametrize("kind", ["activate", "prove", "cold", "warm", "refute", "age"])
def test_a_kill_after_any_effect_ends_where_no_kill_would_have(kind: str, cut: int) -> None:
    ends = []
    for at in (None, cut):
        node = Node()
        bake(node, A)
        node.bring(B)
        if kind in ("cold", "age"):
            node.at += POLICY.bake_seconds
        if kind == "cold":
            node.act(Aged(node.at))
        if kind in ("prove", "refute"):
            node.activate(C)
        events: dict[str, Event] = {
            "activate": Activate(C, node.at, "kim", "new"),
            "prove": Proven(node.at),
            "refute": Refuted(node.at, "x", lasting=True),
            "age": Aged(node.at),
        }
        if kind in ("cold", "warm"):
            events[kind] = Rollback(node.at, "dsops", "x", own=True, lasting=False, warm=tuple(node.world.loaded))
        node.act(events[kind], cut=at)
        move = node.state.move  # each try counts
        ends.append((replace(node.state, move=replace(move, turns=0) if move else None), node.world))
    assert ends[0] == ends[1]
