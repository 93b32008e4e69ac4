"""The gates: what they call worse, what they let pass, and what they wait for."""

from dataclasses import replace

import pytest
from dsops.core.judge import (
    Evidence,
    find_judgement,
    find_margin,
    look_for_harm,
    look_for_pass,
    want_pass_test,
)
from dsops.core.rollout_state import Counted, Judged, Judgement, Rules, Trial
from dsops.core.samples import PER_TOKEN_BOUNDS, TTFT_BOUNDS, Tally
from hypothesis import given, settings
from hypothesis import strategies as st

RULES = Rules()
FAIL, HOLD, PASS = Judgement.FAIL, Judgement.HOLD, Judgement.PASS


def times(bounds: tuple[float, ...], seconds: float, count: int) -> tuple[int, ...]:
    """All of them in the bucket of so many seconds."""
    buckets = [0] * (len(bounds) + 1)
    buckets[sum(seconds > bound for bound in bounds)] = count
    return tuple(buckets)


def tally(requests: int, failed: int = 0, wrong: int = 0, *, ttft: float = 0.08, told: bool = True) -> Tally:
    return Tally(
        requests,
        failed,
        wrong,
        times(TTFT_BOUNDS, ttft, requests),
        times(PER_TOKEN_BOUNDS, 0.012, requests),
        ttft * requests if told else 0.0,
        0.012 * requests if told else 0.0,
    )


def synthetic(new: Tally, old: Tally, *, known: Tally = Tally()) -> Evidence:  # noqa: B008 - frozen
    beside = Counted(synthetic=old)
    return Evidence(Counted(synthetic=new), beside, beside, known=Counted(synthetic=known))


def judge(evidence: Evidence) -> tuple[Judgement, str]:
    return find_judgement(look_for_harm(Trial(), evidence).judged)


def judge_pass(evidence: Evidence, rules: Rules = RULES) -> tuple[Judgement, str]:
    return find_judgement(look_for_pass(Trial(), evidence, rules).judged)


def test_a_release_that_is_as_good_passes() -> None:
    assert judge_pass(synthetic(tally(800, 1), tally(800, 1))) == (PASS, "no worse than before")


def test_ten_times_the_failures_fail_it_and_the_figures_are_told() -> None:
    said = judge(synthetic(tally(1600, 32), tally(1600, 2)))
    assert said == (FAIL, "failed requests: 32 of 1600 against 2 of 1600 (p 3e-08)")


def test_failures_that_are_as_usual_for_the_active_one_are_no_fault() -> None:
    assert judge(synthetic(tally(1600, 80), tally(1600, 80)))[0] is HOLD
    assert judge_pass(synthetic(tally(20_000, 1000), tally(20_000, 1000)))[0] is PASS


def test_a_few_failures_too_many_neither_fail_nor_pass_it() -> None:
    evidence = synthetic(tally(800, 5), tally(800, 1))
    assert judge(evidence)[0] is HOLD
    judgement, says = judge_pass(evidence)
    assert judgement is HOLD
    assert says.endswith("not yet sure that it is no worse, more samples decide")


def test_wrong_answers_fail_it_though_nothing_failed() -> None:
    judgement, says = judge(synthetic(tally(800, 0, 40), tally(800, 0, 0)))
    assert (judgement, says.split(":")[0]) == (FAIL, "wrong answers")


def test_a_difference_that_harms_nobody_fails_nothing_however_sure_it_is() -> None:
    evidence = synthetic(tally(2_000_000, 4000), tally(2_000_000, 2000))
    assert look_for_harm(Trial(), evidence).judged[0].p == pytest.approx(0, abs=1e-90)
    assert judge(evidence)[0] is HOLD


def test_slower_first_tokens_fail_it() -> None:
    judgement, says = judge(synthetic(tally(400, ttft=0.3), tally(400, ttft=0.15)))
    assert (judgement, says) == (FAIL, "first token: 0.3 s against 0.15 s, slower in 100% of pairs (p 4.5e-176)")


@pytest.mark.parametrize("told", [True, False])
def test_times_beside_a_buckets_bound_are_not_slower(told: bool) -> None:
    # 99 and 101 ms fall into two buckets: by their ranks alone all of the new ones are slower.
    evidence = synthetic(tally(4000, ttft=0.101, told=told), tally(4000, ttft=0.099, told=told))
    assert judge(evidence)[0] is HOLD
    assert judge_pass(evidence)[0] is PASS


def test_without_sums_the_buckets_alone_must_show_it() -> None:
    assert judge(synthetic(tally(400, ttft=0.3, told=False), tally(400, ttft=0.04, told=False)))[0] is FAIL


def test_what_looks_slower_waits_for_more() -> None:
    evidence = synthetic(replace(tally(800), ttft=times(TTFT_BOUNDS, 0.3, 60), ttft_seconds=18.0), tally(800))
    judgement, says = judge_pass(evidence)
    assert judgement is HOLD
    assert says.startswith("first token: 0.3 s against 0.08 s")


def test_clients_long_requests_do_not_hide_or_blame_dsops_short_ones() -> None:
    # The active one has mostly clients' requests, which are slow and fail now and then; the new one mostly dsops' own.
    new = Counted(tally(20, 1, ttft=2.0), tally(780, ttft=0.08))
    old = Counted(tally(18_000, 180, ttft=2.0), tally(800, ttft=0.08))
    alike = Evidence(new, old, old)
    assert judge(alike)[0] is HOLD
    assert judge_pass(alike)[0] is PASS
    worse = Evidence(Counted(tally(20, ttft=2.0), tally(780, 40, ttft=0.08)), old, old)
    assert judge(worse)[0] is FAIL


def test_a_small_comparison_is_filled_up_from_other_nodes_and_from_before_but_only_to_fail() -> None:
    few = synthetic(tally(800, 20), tally(20))
    assert judge(few)[0] is HOLD
    assert judge(replace(few, wide=Counted(synthetic=tally(5000, 5))))[0] is FAIL
    assert judge(synthetic(tally(800, 20), tally(20), known=tally(50_000, 50)))[0] is FAIL
    # Yesterday's incident makes today's failures no more normal.
    assert judge_pass(synthetic(tally(800, 20), tally(20), known=tally(50_000, 2500)))[0] is HOLD


def test_without_anything_to_compare_with_what_is_normal_is_known() -> None:
    nothing = Counted()
    assert judge(Evidence(Counted(synthetic=tally(800, 40)), nothing, nothing))[0] is FAIL
    assert judge_pass(Evidence(Counted(synthetic=tally(800)), nothing, nothing))[0] is PASS


def test_no_data_holds() -> None:
    nothing = Evidence(Counted(), Counted(), Counted())
    assert look_for_harm(Trial(), nothing) == Trial()
    assert judge_pass(nothing)[0] is HOLD
    assert find_judgement(()) == (HOLD, "nothing was tested yet")
    assert not want_pass_test(Trial(), nothing, RULES)


def test_no_golden_answers_hold_though_clients_are_served_well() -> None:
    real = Counted(real=tally(5000, 5))
    assert judge_pass(Evidence(real, real, real)) == (
        HOLD,
        "wrong answers: 0 samples of the new release, 50 are needed",
    )


def test_no_times_of_the_new_one_hold_while_the_active_one_has_them() -> None:
    silent = replace(tally(800), ttft=(), ttft_seconds=0.0)
    judgement, says = judge_pass(synthetic(silent, tally(800)))
    assert (judgement, says) == (
        HOLD,
        "first token: 0 times of the new release, 50 of one kind are needed of both",
    )
    # A service without streams has none at all.
    assert judge_pass(synthetic(silent, silent))[0] is PASS


def test_a_test_that_waits_for_times_spends_nothing_and_is_made_at_the_next_look() -> None:
    """The active release is busy and was asked seldom: its golden prompts come later than the new one's."""
    few = Evidence(*(Counted(synthetic=one) for one in (tally(97), tally(10), tally(10))))
    few = replace(few, wide=Counted(real=tally(500), synthetic=tally(10)))
    rules = Rules(min_sample=20)
    trial = look_for_pass(Trial(), few, rules)
    assert find_judgement(trial.judged)[0] is HOLD
    assert (trial.passes, want_pass_test(trial, few, rules)) == (0, True)
    enough = replace(few, beside=Counted(synthetic=tally(60)))
    assert look_for_pass(trial, enough, rules).passes == 1


def test_times_are_not_waited_for_when_nobody_serves_the_active_release_any_more() -> None:
    """Blue-green: all nodes turned in one step, so that no time of the new release stands beside one of the old."""
    untimed = replace(tally(800, 1), ttft=(), per_token=(), ttft_seconds=0.0, per_token_seconds=0.0)
    evidence = synthetic(untimed, tally(800, 1))
    assert judge_pass(evidence)[0] is HOLD
    assert judge_pass(replace(evidence, is_served=False))[0] is PASS


def test_what_looked_slower_beside_the_last_of_the_old_ones_does_not_wait_for_more_of_them() -> None:
    """All nodes have it, and clients came with them: a few old times of an idle minute say nothing; no more come."""
    evidence = synthetic(tally(800, ttft=0.4), tally(60))
    judgement, says = judge_pass(evidence)
    assert (judgement, "it looks slower, more samples decide" in says) == (HOLD, True)
    assert judge_pass(replace(evidence, is_served=False))[0] is PASS


def test_looks_between_two_tests_change_nothing() -> None:
    trial = look_for_harm(Trial(), synthetic(tally(100), tally(100)))
    assert (trial.tests, trial.tested) == (1, 100)
    assert look_for_harm(trial, synthetic(tally(199, 90), tally(199))) is trial
    assert look_for_harm(trial, synthetic(tally(200, 90), tally(200))).tests == 2


def test_a_pass_is_tried_again_when_the_sample_has_doubled() -> None:
    evidence = synthetic(tally(800, 5), tally(800, 1))
    assert want_pass_test(Trial(), evidence, RULES)
    trial = look_for_pass(Trial(), evidence, RULES)
    assert not want_pass_test(trial, synthetic(tally(1599), tally(1599)), RULES)
    assert want_pass_test(trial, synthetic(tally(1600), tally(1600)), RULES)


@settings(max_examples=60)
@given(sample=st.integers(20, 5000))
def test_a_smaller_sample_promises_less_but_can_always_pass(sample: int) -> None:
    rules = Rules(min_sample=sample)
    assert find_margin(sample) >= find_margin(800) == pytest.approx(0.009)
    assert judge_pass(synthetic(tally(sample), tally(sample)), rules)[0] is PASS


@settings(max_examples=60)
@given(requests=st.integers(25, 3000), data=st.data())
def test_what_fails_never_passes(requests: int, data: st.DataObject) -> None:
    failed, old_failed = data.draw(st.integers(0, requests)), data.draw(st.integers(0, requests // 10))
    evidence = synthetic(tally(requests, failed), tally(requests, old_failed))
    rules = Rules(min_sample=min(requests, 800))
    assert not (judge(evidence)[0] is FAIL and judge_pass(evidence, rules)[0] is PASS)


def test_one_that_fails_outweighs_all_that_hold_and_pass() -> None:
    several = [Judged("a", PASS, "good"), Judged("b", HOLD, "few"), Judged("c", FAIL, "bad")]
    assert find_judgement(several) == (FAIL, "bad")
    assert find_judgement(several[:2]) == (HOLD, "few")
