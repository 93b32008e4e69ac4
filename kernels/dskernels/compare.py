"""Every kernel against its peers and goals: `make bench-kernels`, or `python -m dskernels.compare [KERNEL.PY]`.

KERNEL.PY: the public `inference/kernel.py` of DeepSeek-V3; sgl-deep-gemm and humming-kernels are peers where they can
be imported.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from dskernels.act_quant import bench as act_quant
from dskernels.bench import Clock
from dskernels.fp8_gemm import bench as fp8_gemm
from dskernels.goals import GOALS, Outcome, Ratio, judge, rate
from dskernels.tiled_matmul import bench as tiled_matmul
from dskernels.w4a16_gemm import bench as w4a16_gemm
from dskernels.weight_dequant import bench as weight_dequant
from dskernels.workspace import Workspace

# case -> name -> work, and what a floor of ours would take: name -> microseconds
Case = tuple[str, str, Mapping[str, Callable[[], object]], dict[str, float]]
FP8_ROWS = (1, 16, 64, 128, 4096)


def list_cases(peer: Path | None, *, empty: float, copy_rate: float) -> Iterator[Case]:
    """(kernel, case, what is timed, microseconds of what is not)."""
    module = act_quant.load(peer) if peer else None
    for case, size, works in act_quant.list_works(module):
        yield "act_quant", case, works, {"copy": size / copy_rate}
    for case, works in tiled_matmul.list_works():
        yield "tiled_matmul", case, works, {}
    workspace, deep_gemm = Workspace(torch.device("cuda")), fp8_gemm.find_deep_gemm()
    for case, size, _, works in w4a16_gemm.list_works(workspace):
        yield "w4a16_gemm", case, works, {"floor": empty + size / copy_rate}
    for columns, width in fp8_gemm.SHAPES:
        for rows in FP8_ROWS:
            products, _ = fp8_gemm.make_works(rows, columns, width, workspace=workspace, deep_gemm=deep_gemm)
            size = rows * width + columns * width + 2 * rows * columns
            floor = {"floor": empty + size / copy_rate} if rows <= 128 else {}  # more rows are limited by arithmetic
            yield "fp8_gemm", f"M {rows} {columns}x{width}", products, floor
    for case, size, works in weight_dequant.list_works(module):
        yield "weight_dequant", case, works, {"floor": empty + size / copy_rate}


def show(ratio: Ratio) -> str:
    """One line."""
    times = f"{ratio.ours:10.1f}{ratio.peer:>13}{ratio.theirs:10.1f}"
    return f"{ratio.kernel:<15}{ratio.case:<24}{times}{ratio.value:8.2f}  [{ratio.low:.2f} {ratio.high:.2f}]"


def show_outcome(outcome: Outcome) -> str:
    """One line."""
    goal = outcome.goal
    seen = "" if outcome.value is None else f"{outcome.value:6.2f}  [{outcome.low:.2f} {outcome.high:.2f}]"
    return f"{outcome.state:<13}{goal.kind:<5}{goal.kernel:<15}{goal.what:<47}{seen}"


def main() -> None:
    """Prints one line a kernel, case and peer, and then one a goal."""
    clock = Clock()
    empty, copy_rate = clock.empty(), clock.copy_rate()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; cold L2, graph replay, both orders, medians")
    print(f"an empty graph takes {empty:.1f} us; the best copy moves {copy_rate / 1e3:.0f} GB/s")
    print(f"{'kernel':<15}{'case':<24}{'ours us':>10}{'peer':>13}{'us':>10}{'ratio':>8}  [of 80 in 100 rounds]")
    ratios: list[Ratio] = []
    for kernel, case, works, others in list_cases(
        Path(sys.argv[1]) if len(sys.argv) > 1 else None, empty=empty, copy_rate=copy_rate
    ):
        times = clock.time(works, rounds=4 if case.endswith("naive") else 20)
        times |= {name: [one] * len(times["ours"]) for name, one in others.items()}
        new = rate(kernel, case, times)
        print("\n".join(map(show, new)), flush=True)
        ratios += new
    print("\n".join(show_outcome(judge(goal, ratios)) for goal in GOALS))


if __name__ == "__main__":
    main()
