"""What one look makes: right, wrong, refused, dead, or not to be told."""

from dataclasses import replace
from typing import Any

import pytest
from dsops.core.looks import (
    Cause,
    Code,
    Death,
    Outcome,
    ProbeSeen,
    Witness,
    find_cause,
    is_clock_jump,
    judge_death,
    judge_loading,
    judge_probe,
    judge_progress,
)
from dsops.core.status import Phase, Verdict
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_progress import standing

SLOT = ProbeSeen(Witness.SLOT, "p1", 100.0, 105.0, Outcome.TIMEOUT)
GATEWAY = replace(SLOT, witness=Witness.GATEWAY)
OK, BAD, UNKNOWN = Verdict.OK, Verdict.BAD, Verdict.UNKNOWN


def judge(seen: ProbeSeen, stall: float | None = 5.0, **more: Any) -> tuple[Verdict, Code]:
    look = judge_probe(seen, stall, **{"phase": Phase.SERVING, **more})
    assert look.says
    assert (look.at, look.witness, look.subject) == (seen.ended, seen.witness, seen.prompt)
    return look.verdict, look.code


def answered(*, accepted: bool) -> ProbeSeen:
    return replace(SLOT, outcome=Outcome.ANSWERED, ended=100.2, accepted=accepted, moved_at=100.2, status=200, says="7")


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("clock_jumped", [False, True])
def test_an_answer_is_right_or_wrong_whatever_else_is_going_on(phase: Phase, clock_jumped: bool) -> None:
    assert judge(answered(accepted=True), None, phase=phase, clock_jumped=clock_jumped) == (OK, Code.OK)
    assert judge(answered(accepted=False), None, phase=phase, clock_jumped=clock_jumped) == (BAD, Code.WRONG)


def test_a_wrong_beginning_is_wrong_also_when_the_rest_never_came() -> None:
    assert judge(replace(SLOT, accepted=False, moved_at=100.1)) == (BAD, Code.WRONG)


def test_a_wrong_answer_is_quoted_and_shortened() -> None:
    look = judge_probe(replace(answered(accepted=False), says="x\n" * 200), None, phase=Phase.SERVING)
    assert look.says.startswith("p1 was answered wrong: x x")
    assert len(look.says) < 120


@pytest.mark.parametrize(
    ("seen", "stall", "more", "judged"),
    [
        (SLOT, 5.0, {}, (BAD, Code.TIMEOUT_STALLED)),
        (SLOT, 3.0, {}, (BAD, Code.TIMEOUT_STALLED)),
        (SLOT, 2.9, {}, (UNKNOWN, Code.TIMEOUT_BUSY)),
        (SLOT, 0.0, {}, (UNKNOWN, Code.TIMEOUT_BUSY)),
        (SLOT, None, {}, (UNKNOWN, Code.METRICS_DEAD)),
        (SLOT, None, {"agent_age": 5.0}, (UNKNOWN, Code.AGENT_NEW)),
        (SLOT, None, {"agent_age": 50.0}, (UNKNOWN, Code.METRICS_DEAD)),
        (SLOT, 5.0, {"clock_jumped": True}, (UNKNOWN, Code.CLOCK)),
        (SLOT, 5.0, {"phase": Phase.LOADING}, (UNKNOWN, Code.LOADING)),
        (SLOT, 5.0, {"phase": Phase.COMPILING}, (UNKNOWN, Code.LOADING)),
        (SLOT, 5.0, {"phase": Phase.UNKNOWN}, (BAD, Code.TIMEOUT_STALLED)),
        # The first token, then nothing; and tokens that still come, slowly.
        (replace(SLOT, accepted=True, moved_at=100.1), 4.0, {}, (BAD, Code.TIMEOUT_STALLED)),
        (replace(SLOT, accepted=True, moved_at=104.0), 4.0, {}, (UNKNOWN, Code.TIMEOUT_BUSY)),
    ],
)
def test_a_timeout_is_bad_only_where_nothing_moved(
    seen: ProbeSeen, stall: float | None, more: dict[str, Any], judged: tuple[Verdict, Code]
) -> None:
    assert judge(seen, stall, **more) == judged


REFUSED = replace(SLOT, outcome=Outcome.REFUSED, ended=100.0)
FAILED = replace(SLOT, outcome=Outcome.FAILED, status=500, says="the engine failed")


@pytest.mark.parametrize(
    ("seen", "phase", "judged"),
    [
        (REFUSED, Phase.SERVING, (BAD, Code.REFUSED)),
        (REFUSED, Phase.STOPPED, (BAD, Code.REFUSED)),
        (REFUSED, Phase.LOADING, (UNKNOWN, Code.LOADING)),
        (FAILED, Phase.SERVING, (BAD, Code.FAILED)),
        (FAILED, Phase.WARMING, (UNKNOWN, Code.LOADING)),
        (replace(FAILED, status=429), Phase.SERVING, (UNKNOWN, Code.TIMEOUT_BUSY)),
        (replace(FAILED, status=503, says="overloaded: 128 wait"), Phase.SERVING, (UNKNOWN, Code.TIMEOUT_BUSY)),
    ],
)
def test_a_refusal_is_bad_unless_it_loads_or_has_too_much_to_do(
    seen: ProbeSeen, phase: Phase, judged: tuple[Verdict, Code]
) -> None:
    assert judge(seen, None, phase=phase) == judged


def test_an_error_is_told_in_its_own_words_or_by_its_status() -> None:
    assert judge_probe(FAILED, None, phase=Phase.SERVING).says == "p1 got an error: the engine failed"
    assert judge_probe(replace(FAILED, says=""), None, phase=Phase.SERVING).says == "p1 got an error: HTTP 500"


@pytest.mark.parametrize(
    ("seen", "more", "judged"),
    [
        # The slot answers meanwhile: what is left is the gateway.
        (GATEWAY, {"slot_ok_at": 101.0}, (BAD, Code.GATEWAY_FAILED)),
        (replace(FAILED, witness=Witness.GATEWAY), {"slot_ok_at": 101.0}, (BAD, Code.GATEWAY_FAILED)),
        (replace(REFUSED, witness=Witness.GATEWAY), {}, (BAD, Code.GATEWAY_FAILED)),
        # It does not: the engine is.
        (GATEWAY, {"slot_ok_at": 99.0}, (BAD, Code.TIMEOUT_STALLED)),
        (GATEWAY, {}, (BAD, Code.TIMEOUT_STALLED)),
        # The gateway moves for others, or the clock jumped.
        (GATEWAY, {"slot_ok_at": 101.0, "relay_moved": True}, (UNKNOWN, Code.TIMEOUT_BUSY)),
        (GATEWAY, {"slot_ok_at": 101.0, "clock_jumped": True}, (UNKNOWN, Code.CLOCK)),
        (GATEWAY, {"phase": Phase.LOADING}, (UNKNOWN, Code.LOADING)),
        (replace(FAILED, witness=Witness.GATEWAY, status=429), {"slot_ok_at": 101.0}, (UNKNOWN, Code.TIMEOUT_BUSY)),
        (replace(answered(accepted=False), witness=Witness.GATEWAY), {"slot_ok_at": 101.0}, (BAD, Code.WRONG)),
        (replace(answered(accepted=True), witness=Witness.GATEWAY), {}, (OK, Code.OK)),
    ],
)
def test_the_gateways_probe_blames_the_gateway_only_while_the_slot_answers(
    seen: ProbeSeen, more: dict[str, Any], judged: tuple[Verdict, Code]
) -> None:
    assert judge(seen, 5.0, **more) == judged


def test_progress_is_bad_after_five_seconds_and_ok_only_when_seen() -> None:
    assert judge_progress(standing(5), now=105.0).code is Code.HUNG
    assert judge_progress(standing(4), now=104.0).verdict is UNKNOWN
    assert judge_progress(standing(9, running=0.0), now=109.0).code is Code.IDLE
    assert judge_progress([replace(one, generated=one.at) for one in standing(9)], now=109.0).verdict is OK
    assert judge_progress([], now=0.0).code is Code.METRICS_DEAD


@pytest.mark.parametrize(
    ("result", "status", "cause"),
    [
        ("signal", 9, Cause.KILLED),
        ("signal", 15, Cause.KILLED),
        ("signal", 11, Cause.CRASH),
        ("core-dump", 6, Cause.CRASH),
        ("watchdog", 6, Cause.CRASH),
        ("oom-kill", 9, Cause.OOM),
        ("exit-code", 1, Cause.EXIT),
        ("success", 0, Cause.UNKNOWN),
    ],
)
def test_systemd_says_how_a_process_ended(result: str, status: int, cause: Cause) -> None:
    assert find_cause(result, status) is cause


def test_a_death_is_bad_unless_it_was_wanted() -> None:
    assert judge_death(Death(1.0, 42, Cause.KILLED)).says == "the engine's process 42 died (killed from outside)"
    assert judge_death(Death(1.0, 42)).verdict is BAD
    assert judge_death(Death(1.0, 42, expected=True)).verdict is UNKNOWN


def test_loading_is_patience_that_ends() -> None:
    assert judge_loading(now=60.0, since=0.0, allowed=60.0).verdict is UNKNOWN
    late = [judge_loading(now=float(now), since=0.0, allowed=60.0) for now in range(61, 72)]
    assert {one.verdict for one in late} == {BAD}
    assert [late[0].subject, late[5].subject, late[10].subject] == ["load +0 s", "load +5 s", "load +10 s"]


def test_a_clock_that_was_set_or_a_machine_that_slept_is_a_jump() -> None:
    before = {"wall_before": 1000.0, "ticks_before": 10.0}
    assert not is_clock_jump(wall=1001.0, ticks=11.1, **before)
    assert is_clock_jump(wall=4600.0, ticks=11.0, **before)
    assert is_clock_jump(wall=900.0, ticks=11.0, **before)


seens = st.builds(
    ProbeSeen,
    witness=st.sampled_from([Witness.SLOT, Witness.GATEWAY]),
    prompt=st.sampled_from(["p1", "p2"]),
    began=st.just(100.0),
    ended=st.floats(100.0, 110.0),
    outcome=st.sampled_from(Outcome),
    accepted=st.none() | st.booleans(),
    moved_at=st.none() | st.floats(100.0, 110.0),
    status=st.sampled_from([0, 200, 429, 500, 503]),
    says=st.sampled_from(["", "overloaded: 128 wait", "not ready"]),
)
stalls = st.none() | st.floats(0.0, 20.0)


@given(seens, stalls, st.sampled_from(Phase), st.booleans(), st.none() | st.floats(90.0, 110.0))
def test_a_timeout_without_proof_of_a_stall_is_never_bad(
    seen: ProbeSeen, stall: float | None, phase: Phase, jumped: bool, slot_ok_at: float | None
) -> None:
    seen = replace(seen, witness=Witness.SLOT, outcome=Outcome.TIMEOUT, accepted=None)
    verdict, _ = judge(seen, stall, phase=phase, clock_jumped=jumped, slot_ok_at=slot_ok_at)
    if (
        stall is None
        or stall < 1.0
        or stall < 0.6 * min(5.0, seen.ended - seen.began)
        or jumped
        or phase is Phase.LOADING
    ):
        assert verdict is not BAD


@given(seens, stalls, st.sampled_from(Phase))
def test_less_of_a_stall_is_never_worse(seen: ProbeSeen, stall: float | None, phase: Phase) -> None:
    worse = judge(seen, stall, phase=phase)[0]
    assert judge(seen, 0.0, phase=phase)[0] is not BAD or worse is BAD
