"""What follows from a verdict and its blame."""

from dataclasses import replace
from typing import Any

import pytest
from dsops.core.blame import Evidence, Ruling, judge_blame
from dsops.core.remedy import Action, Situation, decide
from dsops.core.status import Blame, Verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_blame import BEFORE, evidences

RULING = Ruling(Blame.RELEASE, "so it is")
BAKING = Situation(
    verdict=Verdict.BAD,
    evidence=replace(BEFORE, baking=True),
    ruling=RULING,
    target="r0",
    rollbacks_left=2,
    restarts_left=2,
)
BAKED = replace(BAKING, evidence=BEFORE)
AGAIN = replace(BAKING, evidence=replace(BEFORE, restarted=True))


def blamed(blame: Blame, *, restart_helps: bool = False) -> dict[str, Any]:
    return {"ruling": Ruling(blame, "so it is", restart_helps=restart_helps)}


DEAD_AROUND = blamed(Blame.ENVIRONMENT, restart_helps=True)
CASES: list[tuple[str, Situation, dict[str, Any], Action, str]] = [
    ("no verdict", BAKING, {"verdict": Verdict.UNKNOWN}, Action.NONE, ""),
    ("all is well", BAKING, {"verdict": Verdict.OK}, Action.NONE, ""),
    ("in bake", BAKING, {}, Action.ROLLBACK, ""),
    ("after bake", BAKED, blamed(Blame.UNKNOWN), Action.RESTART, "slot"),
    ("after bake, no restart left", BAKED, {**blamed(Blame.UNKNOWN), "restarts_left": 0}, Action.HALT_AND_PAGE, ""),
    ("after bake and a restart", AGAIN, {}, Action.ROLLBACK, ""),
    ("after bake, blamed without the test", BAKED, {}, Action.RESTART, "slot"),
    ("in bake, killed from outside", BAKING, blamed(Blame.UNKNOWN), Action.RESTART, "slot"),
    ("unknown, and a restart did not help", AGAIN, blamed(Blame.UNKNOWN), Action.EJECT, ""),
    ("nothing to go back to, before a restart", BAKING, {"target": ""}, Action.RESTART, "slot"),
    ("nothing to go back to", AGAIN, {"target": ""}, Action.HALT_AND_PAGE, ""),
    ("nothing left of anything", BAKING, {"target": "", "restarts_left": 0}, Action.HALT_AND_PAGE, ""),
    ("no rollback left", BAKING, {"rollbacks_left": 0}, Action.HALT_AND_PAGE, ""),
    ("hardware", BAKING, blamed(Blame.HARDWARE), Action.EJECT, ""),
    ("storage", BAKING, blamed(Blame.STORAGE), Action.EJECT, ""),
    ("fabric", AGAIN, blamed(Blame.FABRIC), Action.EJECT, ""),
    ("environment", BAKING, blamed(Blame.ENVIRONMENT), Action.NONE, ""),
    ("a dead engine, environment", BAKED, blamed(Blame.ENVIRONMENT, restart_helps=True), Action.RESTART, "slot"),
    ("a dead engine, no restart left", BAKED, {**DEAD_AROUND, "restarts_left": 0}, Action.NONE, ""),
    ("a dead engine, the last restart", BAKED, {**DEAD_AROUND, "restarts_left": 1}, Action.RESTART, "slot"),
    ("after bake, the last restart", BAKED, {**blamed(Blame.UNKNOWN), "restarts_left": 1}, Action.RESTART, "slot"),
    ("the last rollback", BAKING, {"rollbacks_left": 1}, Action.ROLLBACK, ""),
    ("the gateway, the last restart", BAKING, {**blamed(Blame.DSOPS), "restarts_left": 1}, Action.RESTART, "gateway"),
    ("the gateway, no restart left", BAKING, {**blamed(Blame.DSOPS), "restarts_left": 0}, Action.NONE, ""),
    ("nothing to go back to, the last restart", BAKING, {"target": "", "restarts_left": 1}, Action.RESTART, "slot"),
    ("still dead, environment", AGAIN, blamed(Blame.ENVIRONMENT, restart_helps=True), Action.NONE, ""),
    ("overload", BAKING, blamed(Blame.OVERLOAD), Action.NONE, ""),
    ("the gateway", BAKING, blamed(Blame.DSOPS), Action.RESTART, "gateway"),
    ("the gateway, again", BAKING, {**blamed(Blame.DSOPS), "gateway_restarted": True}, Action.NONE, ""),
    ("drained by an operator", BAKING, {"observe": "drained by me"}, Action.NONE, ""),
    ("the agent just started", BAKING, {"held": "until 12:00"}, Action.NONE, ""),
    ("a move is under way", BAKING, {"moving": "rollback"}, Action.NONE, ""),
    ("halted", BAKING, {"halted": "twice"}, Action.NONE, ""),
]


@pytest.mark.parametrize(
    ("before", "changes", "action", "unit"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_rules_of_d4(before: Situation, changes: dict[str, Any], action: Action, unit: str) -> None:
    remedy = decide(replace(before, **changes))
    assert (remedy.action, remedy.unit) == (action, unit)
    assert remedy.says
    assert remedy.next


def test_a_release_that_failed_its_trial_stays_bad_and_an_older_one_for_a_time() -> None:
    assert decide(BAKING).lasting
    assert not decide(AGAIN).lasting


@pytest.mark.parametrize("blame", [Blame.HARDWARE, Blame.STORAGE, Blame.FABRIC, Blame.ENVIRONMENT])
def test_what_no_rollback_mends_is_a_persons_to_look_at(blame: Blame) -> None:
    assert decide(replace(BAKING, **blamed(blame))).page
    assert not decide(replace(BAKED, **blamed(Blame.UNKNOWN))).page


situations = st.builds(
    Situation,
    verdict=st.sampled_from(Verdict),
    evidence=evidences,
    ruling=st.builds(Ruling, st.sampled_from(Blame), st.just("so"), st.just(()), st.booleans()),
    target=st.sampled_from(["", "r0"]),
    rollbacks_left=st.integers(0, 2),
    restarts_left=st.integers(0, 2),
    gateway_restarted=st.booleans(),
    observe=st.sampled_from(["", "drained"]),
    held=st.sampled_from(["", "new"]),
    moving=st.sampled_from(["", "rollback"]),
    halted=st.sampled_from(["", "twice"]),
)
ACTIONS = (Action.RESTART, Action.ROLLBACK, Action.HALT_AND_PAGE)


@given(situations)
def test_nothing_is_done_without_a_verdict_or_while_somebody_else_acts(situation: Situation) -> None:
    remedy = decide(situation)
    if situation.verdict is not Verdict.BAD or situation.observe or situation.held or situation.moving:
        assert remedy.action is Action.NONE
        assert not remedy.page


@given(situations)
def test_a_rollback_has_a_guilty_release_a_target_and_a_budget(situation: Situation) -> None:
    if decide(situation).action is Action.ROLLBACK:
        assert situation.ruling.blame is Blame.RELEASE
        assert situation.target
        assert situation.rollbacks_left > 0
        assert situation.evidence.baking or situation.evidence.was_restarted


@given(situations)
def test_a_restart_is_within_the_budget_and_never_the_second_test_of_blame(situation: Situation) -> None:
    remedy = decide(situation)
    if remedy.action is Action.RESTART:
        assert situation.restarts_left > 0
        assert remedy.unit == "gateway" or not situation.evidence.was_restarted


@given(situations)
def test_broken_parts_and_their_surroundings_never_change_the_release(situation: Situation) -> None:
    if situation.ruling.blame in (Blame.HARDWARE, Blame.FABRIC, Blame.STORAGE, Blame.ENVIRONMENT, Blame.DSOPS):
        assert decide(situation).action not in (Action.ROLLBACK, Action.HALT_AND_PAGE)


@given(situations)
def test_less_budget_never_makes_it_bolder(situation: Situation) -> None:
    order = [Action.NONE, Action.EJECT, Action.HALT_AND_PAGE, Action.RESTART, Action.ROLLBACK]
    less = decide(replace(situation, rollbacks_left=0, restarts_left=0)).action
    assert order.index(less) <= order.index(decide(situation).action)
    assert less not in (Action.RESTART, Action.ROLLBACK)


@given(evidences, situations)
def test_evidence_to_remedy_never_rolls_back_twice_within_the_hour_after_bake(
    evidence: Evidence, situation: Situation
) -> None:
    evidence = replace(evidence, baking=False, last_rollback_at=evidence.at - 60)
    remedy = decide(replace(situation, evidence=evidence, ruling=judge_blame(evidence)))
    assert remedy.action is not Action.ROLLBACK
