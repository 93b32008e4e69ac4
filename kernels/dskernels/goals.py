"""What the kernels are to reach against their peers, as data, and whether they do. Pure."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

OURS = "ours"


@dataclass(frozen=True)
class Ratio:
    """How many times as long the peer takes: the medians' ratio, and the 10th and 90th hundredth of the rounds'."""

    kernel: str
    case: str
    peer: str
    ours: float
    theirs: float
    value: float
    low: float
    high: float


def rate(kernel: str, case: str, times: Mapping[str, Sequence[float]]) -> list[Ratio]:
    """One ratio a peer. times: name -> microseconds, one a round."""
    ours, found = times[OURS], []
    for peer, theirs in times.items():
        if peer == OURS:
            continue
        rounds = sorted(their / our for their, our in zip(theirs, ours, strict=True))
        low, high = rounds[len(rounds) // 10], rounds[-1 - len(rounds) // 10]
        medians = statistics.median(ours), statistics.median(theirs)
        found.append(Ratio(kernel, case, peer, *medians, medians[1] / medians[0], low, high))
    return found


@dataclass(frozen=True)
class Goal:
    """The geometric mean, over all cases that begin with one of `cases`, of the least ratio to one of `peers`.

    kind: must or aim.
    """

    kernel: str
    kind: str
    what: str
    want: float
    cases: tuple[str, ...]
    peers: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """value, low, high: None where nothing was measured."""

    goal: Goal
    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def state(self) -> str:
        """met, missed or not measured."""
        if self.value is None:
            return "not measured"
        return "met" if self.value >= self.goal.want else "missed"


def judge(goal: Goal, ratios: Iterable[Ratio]) -> Outcome:
    """Whether a goal is reached. Only cases for which at least one of the peers was there count."""
    least: dict[str, Ratio] = {}
    for one in ratios:
        if one.kernel == goal.kernel and one.peer in goal.peers and one.case.startswith(goal.cases):
            least[one.case] = min(least.get(one.case, one), one, key=lambda ratio: ratio.value)
    if not least:
        return Outcome(goal)
    cases = list(least.values())
    values, lows, highs = (
        math.exp(statistics.fmean(math.log(getattr(one, name)) for one in cases)) for name in ("value", "low", "high")
    )
    return Outcome(goal, values, lows, highs)


FP8_PEERS = ("scaled_mm", "DeepGEMM")
LARGE = ("M 1 24576x", "M 1 7168x16384", "M 1 4096x", "M 16 24576x", "M 16 7168x16384", "M 16 4096x")
GOALS = (
    Goal("act_quant", "must", "4x DeepSeek's at M 4096", 4.0, ("quantize M 4096",), ("DeepSeek",)),
    Goal("act_quant", "must", "0.85 of the copy rate at M 32768", 0.85, ("quantize M 32768",), ("copy",)),
    Goal("act_quant", "must", "RMSNorm fused 1.6x two kernels", 1.6, ("rms_norm M 4096",), ("two kernels",)),
    Goal("act_quant", "must", "SiLU * up fused 1.6x two kernels", 1.6, ("silu_mul M 4096",), ("two kernels",)),
    Goal("fp8_gemm", "must", "1x the better peer, M 1 to 128", 1.0, ("M 1 ", "M 16 ", "M 64 ", "M 128 "), FP8_PEERS),
    Goal("fp8_gemm", "aim", "1.25x the better peer, M 1 to 128", 1.25, ("M 1 ", "M 16 ", "M 64 ", "M 128 "), FP8_PEERS),
    Goal("fp8_gemm", "aim", "1.25x bf16 on 576x7168", 1.25, tuple(f"M {m} 576x" for m in (1, 16, 64, 128)), ("bf16",)),
    Goal("fp8_gemm", "aim", "0.75 of the floor, weights of 25 MB and more", 0.75, LARGE, ("floor",)),
    Goal("fp8_gemm", "aim", "0.95x DeepGEMM at M 4096", 0.95, ("M 4096 ",), ("DeepGEMM",)),
    Goal("fp8_gemm", "aim", "1x scaled_mm at M 4096", 1.0, ("M 4096 ",), ("scaled_mm",)),
    Goal("weight_dequant", "must", "0.85 of the floor", 0.85, ("",), ("floor",)),
    Goal("weight_dequant", "must", "1x DeepSeek's", 1.0, ("",), ("DeepSeek",)),
    Goal("tiled_matmul", "must", "0.80x cuBLAS at 8192^3", 0.80, ("8192 wgmma",), ("cuBLAS",)),
    Goal("w4a16_gemm", "must", "1.3x int4pack at M 1", 1.3, ("M 1 8192x", "M 1 4096x"), ("int4pack",)),
    Goal("w4a16_gemm", "must", "2x bf16 at M 16", 2.0, ("M 16 8192x", "M 16 4096x"), ("bf16",)),
    Goal("w4a16_gemm", "aim", "2.8x bf16 at M 1", 2.8, ("M 1 8192x", "M 1 4096x"), ("bf16",)),
    Goal("w4a16_gemm", "aim", "1.15x humming at M 1", 1.15, ("M 1 8192x", "M 1 4096x"), ("humming",)),
)
