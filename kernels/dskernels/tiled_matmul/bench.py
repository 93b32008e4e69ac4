"""The ladder from naive to cuBLAS: `python -m dskernels.tiled_matmul.bench`."""

from collections.abc import Callable, Iterator

import torch

from dskernels.bench import Clock
from dskernels.tiled_matmul import kernel, reference
from dskernels.tiled_matmul.choice import LADDER, Rung, can_run

# Side of the product -> the rungs that end in reasonable time.
SIDES = {4096: ("naive", "tiled", "mma", "wgmma"), 8192: ("mma", "wgmma")}


def make(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two random operands."""
    x, w = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    return x, w


def list_works() -> Iterator[tuple[str, dict[str, Callable[[], object]]]]:
    """(case, what is timed): each rung beside cuBLAS."""
    for side, names in SIDES.items():
        x, w = make(side)
        for rung in reversed(LADDER):
            if rung.name in names and can_run(rung, torch.cuda.get_device_capability(), side):
                yield f"{side} {rung.name}", make_works(x, w, rung)


def make_works(x: torch.Tensor, w: torch.Tensor, rung: Rung) -> dict[str, Callable[[], object]]:
    """One rung and cuBLAS."""
    return {"ours": lambda: kernel.gemm(x, w, rung=rung), "cuBLAS": lambda: torch.mm(x, w.t())}


def main() -> None:
    """Prints one row a rung."""
    clock = Clock()
    print(f"{torch.cuda.get_device_name()}; milliseconds, cold L2")
    print(f"{'side rung':<14}{'ms':>9}{'TFLOP/s':>9}{'cuBLAS ms':>11}{'TFLOP/s':>9}{'ratio':>7}{'error':>10}")
    for case, works in list_works():
        x, w = make(1024)
        rung = next(one for one in LADDER if one.name == case.split()[1])
        want = reference.gemm(x, w)
        error = ((kernel.gemm(x, w, rung=rung).float() - want).norm() / want.norm()).item()
        seen = clock.compare(works, rounds=4 if rung.name == "naive" else 20)
        ours, theirs = seen["ours"], seen["cuBLAS"]
        work = 2 * int(case.split()[0]) ** 3 / 1e6
        cells = f"{ours / 1e3:9.3f}{work / ours:9.1f}{theirs / 1e3:11.3f}{work / theirs:9.1f}{theirs / ours:7.3f}"
        print(f"{case:<14}{cells}{error:10.1e}", flush=True)


if __name__ == "__main__":
    main()
