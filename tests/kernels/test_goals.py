"""What the comparison says of goals, and what a burn-in says of floors: pure arithmetic, without a GPU."""

from dskernels.burn_in.report import Figure, Report, judge
from dskernels.goals import GOALS, Goal, Outcome, Ratio, rate
from dskernels.goals import judge as judge_goal

GOAL = Goal("gemm", "must", "twice the better peer", 2.0, ("M 1 ",), ("a", "b"))


def make_ratio(case: str, peer: str, value: float) -> Ratio:
    return Ratio("gemm", case, peer, 1.0, value, value, value * 0.9, value * 1.1)


def test_a_ratio_is_of_medians_and_its_spread_of_rounds() -> None:
    (ratio,) = rate("gemm", "M 1 8x8", {"ours": [1.0, 2.0, 3.0], "peer": [4.0, 4.0, 40.0]})
    assert (ratio.ours, ratio.theirs, ratio.value) == (2.0, 4.0, 2.0)
    assert (ratio.low, ratio.high) == (2.0, 40 / 3)


def test_a_goal_counts_the_better_peer_of_each_case_and_takes_the_geometric_mean() -> None:
    ratios = [make_ratio("M 1 x", "a", 1.0), make_ratio("M 1 x", "b", 9.0), make_ratio("M 1 y", "b", 4.0)]
    outcome = judge_goal(GOAL, [*ratios, make_ratio("M 16 x", "a", 100.0), make_ratio("M 1 x", "c", 0.1)])
    assert outcome.value
    assert abs(outcome.value - 2.0) < 1e-9
    assert outcome.state == "met"


def test_a_goal_without_its_peers_is_not_measured_and_never_met() -> None:
    assert judge_goal(GOAL, [make_ratio("M 1 x", "c", 9.0)]).state == "not measured"
    assert Outcome(GOAL, 1.99, 1.9, 2.1).state == "missed"


def test_every_goal_names_a_kernel_that_is_there() -> None:
    kernels = {"act_quant", "fp8_gemm", "weight_dequant", "tiled_matmul", "w4a16_gemm"}
    assert {goal.kernel for goal in GOALS} == kernels


def test_a_figure_under_its_floor_is_a_problem_and_so_is_a_missing_one() -> None:
    figures = [Figure("copy", 2.0, "GB/s"), Figure("copy", 3.0, "GB/s"), Figure("product", float("nan"), "TFLOP/s")]
    problems = judge(figures, {"copy": 2.5, "product": 1.0, "peer_copy": 9.0})
    assert [problem.part for problem in problems] == ["floors"] * 3
    assert [problem.what.split()[0] for problem in problems] == ["copy", "product", "peer_copy"]
    assert judge(figures, {"copy": 2.0}) == []


def test_a_report_is_sound_when_nothing_is_wrong() -> None:
    report = Report(0, "a GPU", 1.0, (), ())
    assert report.is_sound
    assert not Report(0, "a GPU", 1.0, (), tuple(judge([], {"copy": 1.0}))).is_sound
