"""A node's drivers over its boots: what counts, when it goes back, and that it always comes to an end."""

from dataclasses import dataclass, field

import pytest
from dsops.core.drivers.boots import Act, Outcome, Stage, State, begin, end_turn, fail_turn, forget, judge_boot
from dsops.core.errors import DsopsError
from hypothesis import given
from hypothesis import strategies as st

A, B, C = "set-a", "set-b", "set-c"
SETTLED = State(Stage.SETTLED, A, passed=(A,))
LIMITS = st.integers(1, 4)


@dataclass
class Node:
    """A server whose power may be cut at any step; it goes on from what it wrote down."""

    state: State
    limit: int = 2
    boot: int = 0
    reboots: int = 0
    gone_back: int = 0
    counted: list[Outcome] = field(default_factory=list)

    def turn(self) -> None:
        self.state = end_turn(self.state, f"b{self.boot}")

    def boot_up(self, outcome: Outcome, *, cut_before: bool = False, cut_after: bool = False) -> None:
        """One boot. cut_before: the power goes before the gate. cut_after: after it wrote, before it acted."""
        self.boot += 1
        if cut_before:
            return
        current, stage = self.state.current, self.state.stage
        self.state, act = judge_boot(self.state, boot=f"b{self.boot}", outcome=outcome, limit=self.limit)
        if stage is Stage.TRIAL:
            self.counted.append(outcome)
        self.gone_back += self.state.current != current
        if cut_after:
            return
        if act is Act.TURN:
            self.turn()
        self.reboots += act is not Act.NOTHING


def install(to: str = B, state: State = SETTLED, *, limit: int = 2) -> Node:
    """A node on which a set was just installed; the next boot is its first."""
    node = Node(begin(state, to), limit)
    node.turn()
    return node


def test_a_set_that_passes_settles_and_the_one_before_is_kept() -> None:
    node = install()
    assert (node.state.stage, node.state.previous) == (Stage.TRIAL, A)
    node.boot_up(Outcome.PASSED)
    assert (node.state.stage, node.state.passed) == (Stage.SETTLED, (A, B))


def test_after_the_limit_it_goes_back_says_so_and_reboots_once() -> None:
    node = install()
    node.boot_up(Outcome.FAILED)
    assert (node.state.current, node.state.failures, node.reboots) == (B, 1, 1)
    node.boot_up(Outcome.FAILED)
    assert (node.state.current, node.state.stage, node.reboots) == (A, Stage.TRIAL, 2)
    assert node.state.bad == (B,)
    node.boot_up(Outcome.PASSED)
    assert (node.state.current, node.state.stage, node.reboots) == (A, Stage.SETTLED, 2)


def test_where_there_is_nothing_to_go_back_to_it_halts_in_words() -> None:
    node = Node(begin(None, A), limit=1)
    node.turn()
    node.boot_up(Outcome.FAILED)
    assert node.state.stage is Stage.HALTED
    assert "no set to go back to: a person must look" in node.state.says
    node.boot_up(Outcome.FAILED)
    assert node.reboots == 0


def test_the_boot_in_which_it_was_installed_says_nothing_about_it() -> None:
    node = install()
    state, act = judge_boot(node.state, boot="b0", outcome=Outcome.FAILED)
    assert (state.failures, act) == (0, Act.NOTHING)


def test_the_same_boot_judged_twice_counts_once() -> None:
    node = install(limit=2)
    state, _ = judge_boot(node.state, boot="b1", outcome=Outcome.FAILED)
    state, act = judge_boot(state, boot="b1", outcome=Outcome.FAILED)
    assert (state.failures, act) == (1, Act.NOTHING)


def test_a_set_that_was_good_here_is_not_left_for_what_broke_since() -> None:
    node = Node(SETTLED, limit=1)
    node.boot_up(Outcome.FAILED)
    assert (node.state.current, node.state.stage, node.reboots) == (A, Stage.SETTLED, 0)
    assert "passed before, and not now" in node.state.says


def test_a_change_that_was_cut_is_done_to_its_end_and_then_tried() -> None:
    state = begin(SETTLED, B)
    same, act = judge_boot(state, boot="b1", outcome=Outcome.FAILED)
    assert (same, act) == (state, Act.TURN)


def test_a_set_that_cannot_be_installed_goes_back_and_is_not_marked() -> None:
    state = fail_turn(begin(SETTLED, B), "no space left")
    assert (state.stage, state.current, state.bad) == (Stage.TURNING, A, ())
    state = fail_turn(state, "no space left")
    assert state.stage is Stage.HALTED
    assert begin(state, B).stage is Stage.TURNING


def test_a_set_that_failed_here_is_refused_until_a_person_cleared_it() -> None:
    state = State(Stage.SETTLED, A, passed=(A,), bad=(B,), says="x")
    with pytest.raises(DsopsError, match="set-b failed on this node before"):
        begin(state, B)
    assert begin(forget(state), B).current == B
    assert forget(State(Stage.HALTED, A)).stage is Stage.TRIAL


def test_it_goes_back_to_what_passed_rather_than_to_what_came_last() -> None:
    unproven = State(Stage.TRIAL, B, previous=A, passed=(A,))
    assert begin(unproven, C).previous == A
    assert begin(State(Stage.TRIAL, B, previous=A), C).previous == B
    assert begin(State(Stage.TRIAL, B, previous=A, passed=(A,)), A).previous == B


BOOTS = st.lists(st.tuples(st.sampled_from(list(Outcome)), st.booleans(), st.booleans()), max_size=30)


@given(BOOTS, LIMITS)
def test_it_never_goes_back_before_so_many_boots_reached_the_gate_and_failed(
    boots: list[tuple[Outcome, bool, bool]], limit: int
) -> None:
    node = install(limit=limit)
    for outcome, before, after in boots:
        was = node.state.current
        node.boot_up(outcome, cut_before=before, cut_after=after)
        if node.state.current != was:
            assert node.counted.count(Outcome.FAILED) >= limit
            assert Outcome.PASSED not in node.counted


@given(st.lists(st.sampled_from([Outcome.NO_GPU, Outcome.UNKNOWN, Outcome.PASSED]), max_size=20), LIMITS)
def test_without_a_failed_boot_nothing_is_ever_left_or_rebooted(outcomes: list[Outcome], limit: int) -> None:
    node = install(limit=limit)
    for outcome in outcomes:
        node.boot_up(outcome)
    assert (node.state.current, node.reboots) == (B, 0)


@given(st.data(), LIMITS)
def test_it_always_ends_on_a_set_that_passed_or_halts_saying_so(data: st.DataObject, limit: int) -> None:
    """Each set is good or bad for good; power may go at any boot. So many boots later nothing moves any more."""
    good = {name: data.draw(st.booleans(), label=name) for name in (A, B)}
    first = data.draw(st.sampled_from([SETTLED, State(Stage.TRIAL, A)]), label="before")
    node = install(state=first, limit=limit)
    cuts = data.draw(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12), label="cuts")
    for before, after in [*cuts, *[(False, False)] * (3 * limit + 4)]:
        node.boot_up(Outcome.PASSED if good[node.state.current] else Outcome.FAILED, cut_before=before, cut_after=after)
    assert node.state.stage in {Stage.SETTLED, Stage.HALTED}
    if node.state.stage is Stage.SETTLED:
        assert node.state.current in node.state.passed
        assert good[node.state.current]
    else:
        assert "a person must look" in node.state.says
    assert node.gone_back <= 1
    # By itself it reboots for each failed boot at most, and once for what a cut left.
    assert node.reboots <= 2 * limit + 1
