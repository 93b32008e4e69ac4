"""The balancer's core: examples, and what holds for every history of answers."""

from collections.abc import Sequence

import pytest
from dsops.node.balancer.state import (
    TOGETHER_SECONDS,
    Effect,
    Look,
    Observation,
    Say,
    SetLink,
    State,
    judge,
    start,
    step,
)
from dsops.node.sources.http import Answer, Failure
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("gpu1", "gpu2", "gpu3")


def begin(*members: str) -> State:
    return start({name: name in members for name in NAMES}, good_answers=2, at=0.0)


def play(state: State, *seen: tuple[float, str, Look]) -> tuple[State, list[Effect]]:
    effects: list[Effect] = []
    for at, node, look in seen:
        state, more = step(state, Observation(node, look, look.value, 0.01, at))
        effects += more
    return state, effects


def lines(effects: Sequence[Effect]) -> list[str]:
    return [e.line for e in effects if isinstance(e, Say)]


def links(effects: Sequence[Effect]) -> list[tuple[str, bool]]:
    return [(e.node, e.is_in) for e in effects if isinstance(e, SetLink)]


@pytest.mark.parametrize("look", [look for look in Look if look is not Look.GOOD])
def test_one_bad_answer_takes_a_node_out(look: Look) -> None:
    state, effects = play(begin(*NAMES), (1.0, "gpu2", look))
    assert state.members == {"gpu1", "gpu3"}
    assert links(effects) == [("gpu2", False)]
    assert lines(effects) == [f"gpu2 out: {look} ({look})"]
    assert state.nodes["gpu2"].since == 1.0


def test_two_good_answers_in_a_row_bring_it_back() -> None:
    good, bad = Look.GOOD, Look.REFUSED
    state, effects = play(begin("gpu1"), (1, "gpu2", good), (2, "gpu2", bad), (3, "gpu2", good))
    assert state.members == {"gpu1"}
    assert not effects
    state, effects = play(state, (4, "gpu2", good))
    assert state.members == {"gpu1", "gpu2"}
    assert lines(effects) == ["gpu2 in"]


def test_a_start_changes_nothing() -> None:
    assert begin("gpu1", "gpu3").members == {"gpu1", "gpu3"}
    state, effects = play(begin("gpu1"), (1, "gpu1", Look.GOOD), (1, "gpu2", Look.TIMEOUT))
    assert state.members == {"gpu1"}
    assert not effects


def test_when_all_die_together_the_last_set_stays_and_says_so() -> None:
    state, effects = play(begin(*NAMES), *((1.0 + n / 10, name, Look.TIMEOUT) for n, name in enumerate(NAMES)))
    assert state.members == set(NAMES)
    assert state.is_kept
    assert lines(effects)[-1] == "every node looks dead: kept gpu1, gpu2, gpu3 in"
    state, effects = play(state, (3, "gpu1", Look.REFUSED), (3, "gpu2", Look.GOOD))
    assert state.members == set(NAMES)
    assert not effects
    state, effects = play(state, (3.5, "gpu2", Look.GOOD))
    assert state.members == {"gpu2"}
    assert links(effects) == [("gpu1", False), ("gpu3", False)]
    assert lines(effects)[-1] == "a node answers again: the kept set is given up"


def test_one_that_was_out_long_before_does_not_come_back_with_the_last() -> None:
    seen = [(1.0, "gpu1", Look.DRAINED), (50.0, "gpu2", Look.REFUSED), (50.5, "gpu3", Look.REFUSED)]
    state, _ = play(begin(*NAMES), *seen)
    assert state.members == {"gpu2", "gpu3"}


def test_a_drained_node_is_not_put_back_by_the_end_of_the_others() -> None:
    seen = [(1.0, "gpu1", Look.REFUSED), (1.1, "gpu1", Look.DRAINED), (1.2, "gpu2", Look.TIMEOUT)]
    state, effects = play(begin("gpu1", "gpu2"), *seen)
    assert state.members == {"gpu2"}
    assert "gpu1 is drained (drained)" in lines(effects)


def test_the_last_one_stays_when_it_is_drained() -> None:
    state, effects = play(begin("gpu1"), (1.0, "gpu1", Look.DRAINED))
    assert state.members == {"gpu1"}
    assert not links(effects)
    assert lines(effects) == ["every node looks dead: kept gpu1 in"]


def test_an_answer_of_a_stranger_is_ignored() -> None:
    state = begin("gpu1")
    assert step(state, Observation("gpu9", Look.GOOD, "", 0.0, 1.0)) == (state, ())


@pytest.mark.parametrize(
    ("answer", "look", "reason"),
    [
        (Answer(200, b"{}"), Look.GOOD, ""),
        (Answer(503, b'{"status": "unavailable", "phase": "drained", "reason": "fan"}'), Look.DRAINED, "fan"),
        (Answer(503, b'{"status": "unavailable", "phase": "loading", "reason": "x"}'), Look.UNREADY, "x"),
        (Answer(404, b""), Look.UNREADY, "HTTP 404"),
        (Answer(0, failure=Failure.REFUSED, reason="connection refused"), Look.REFUSED, "connection refused"),
        (Answer(0, failure=Failure.TIMEOUT, reason="no answer in 1 s"), Look.TIMEOUT, "no answer in 1 s"),
        (Answer(0, failure=Failure.ERROR, reason="no route to host"), Look.ERROR, "no route to host"),
    ],
)
def test_each_answer_has_its_look(answer: Answer, look: Look, reason: str) -> None:
    assert judge(answer) == (look, reason)


histories = st.lists(
    st.tuples(st.floats(0.0, 3.0), st.sampled_from(NAMES), st.sampled_from([Look.GOOD, *Look])), max_size=60
)


@given(members=st.sets(st.sampled_from(NAMES)), history=histories)
def test_invariants_hold_for_every_history(members: set[str], history: list[tuple[float, str, Look]]) -> None:
    state, at = begin(*members), 0.0
    linked = set(members)
    for wait, node, look in history:
        at += wait
        before = state
        state, effects = step(state, Observation(node, look, "", 0.01, at))
        for effect in effects:
            if isinstance(effect, SetLink):
                (linked.add if effect.is_in else linked.discard)(effect.node)
                # Not even between two effects is the set empty once it was not.
                assert linked or not before.members
        assert linked == state.members
        assert state.members or not before.members
        held = {n.name for n in state.nodes.values() if n.is_held}
        assert held in (set(), set(state.members))
        for one in state.nodes.values():
            if one.good >= 2:
                assert one.is_in
                assert not one.is_held
            if one.is_in and not one.is_held:
                assert one.look in (None, Look.GOOD)


@given(history=histories)
def test_a_node_that_answers_well_twice_is_in_whatever_happened(
    history: list[tuple[float, str, Look]],
) -> None:
    state, at = begin(*NAMES), 0.0
    for wait, node, look in history:
        at += wait
        state, _ = step(state, Observation(node, look, "", 0.01, at))
    state, _ = play(state, (at + 1, "gpu1", Look.GOOD), (at + 2, "gpu1", Look.GOOD))
    assert "gpu1" in state.members
    assert not state.is_kept


def test_together_is_a_matter_of_seconds() -> None:
    late = 1.0 + TOGETHER_SECONDS + 0.1
    state, _ = play(begin("gpu1", "gpu2"), (1.0, "gpu1", Look.TIMEOUT), (late, "gpu2", Look.TIMEOUT))
    assert state.members == {"gpu2"}
