"""fp8_gemm against PyTorch's scaled_mm and DeepGEMM: `python -m dskernels.fp8_gemm.bench` (peers where installed)."""

import math
from collections.abc import Callable
from types import ModuleType

import torch
from torch.nn.functional import ScalingType, scaled_mm

from dskernels.act_quant.kernel import quantize
from dskernels.bench import Clock
from dskernels.fp8_gemm import kernel, reference
from dskernels.workspace import Workspace

# (N, K) of DeepSeek-V3: q_a + kv_a, q_b, kv_b, o, expert gate + up, expert down, kv_a.
SHAPES = ((2112, 7168), (24576, 1536), (32768, 512), (7168, 16384), (4096, 7168), (7168, 2048), (576, 7168))
ROWS = (1, 16, 64, 128)
GROUP = 128


def find_deep_gemm() -> ModuleType | None:
    """The peer `sgl-deep-gemm`, None when it is not installed."""
    try:
        import deep_gemm
    except ImportError:
        return None
    return deep_gemm


def pad_scales(scales: torch.Tensor) -> torch.Tensor:
    """The layout that cuBLASLt wants of the weight's scales: K / 128 padded to a multiple of 4, column by column."""
    blocks = scales.shape[1]
    padded = torch.zeros(scales.shape[0], -(-blocks // 4) * 4, device=scales.device)
    padded[:, :blocks] = scales
    return padded.t()


def make_works(
    rows: int, columns: int, width: int, *, workspace: Workspace, deep_gemm: ModuleType | None
) -> tuple[dict[str, Callable[[], torch.Tensor]], torch.Tensor]:
    """What is timed, and the right answer in fp32."""
    x, x_scales = quantize(torch.randn(rows, width, device="cuda", dtype=torch.bfloat16))
    wide = torch.randn(columns, width, device="cuda")
    w, w_scales = reference.quantize_weight(wide)
    want = reference.gemm(x, x_scales, w, w_scales)
    plain_x, plain_w = torch.randn(rows, width, device="cuda", dtype=torch.bfloat16), wide.bfloat16()
    works: dict[str, Callable[[], torch.Tensor]] = {
        "ours": lambda: kernel.gemm(x, x_scales, w, w_scales, workspace=workspace),
        "bf16": lambda: torch.mm(plain_x, plain_w.t()),
    }
    if rows > 1:  # it refuses one row
        left, right = x_scales.t().contiguous().t(), pad_scales(w_scales)
        kinds = (ScalingType.BlockWise1x128, ScalingType.BlockWise128x128)
        works["scaled_mm"] = lambda: scaled_mm(x, w.t(), left, kinds[0], right, kinds[1], output_dtype=torch.bfloat16)
    if deep_gemm:
        out = torch.empty(rows, columns, device="cuda", dtype=torch.bfloat16)

        def run() -> torch.Tensor:
            deep_gemm.fp8_gemm_nt((x, x_scales), (w, w_scales), out)
            return out

        works["DeepGEMM"] = run
    return works, want


def main() -> None:
    """Prints one row a shape, and the geometric means."""
    clock, workspace, deep_gemm = Clock(), Workspace(torch.device("cuda")), find_deep_gemm()
    empty = clock.empty()
    print(f"{torch.cuda.get_device_name()}; an empty graph takes {empty:.1f} us; microseconds, cold L2")
    head = f"{'N x K':<12}{'M':>5}{'floor':>8}{'ours':>8}{'bf16':>8}{'scaled_mm':>11}{'DeepGEMM':>10}"
    print(f"{head}{'ratio':>7}{'error':>10}")
    ratios: dict[int, list[float]] = {rows: [] for rows in ROWS}
    for columns, width in SHAPES:
        for rows in ROWS:
            works, want = make_works(rows, columns, width, workspace=workspace, deep_gemm=deep_gemm)
            error = ((works["ours"]().float() - want).norm() / want.norm()).item()
            seen = clock.compare(works)
            floor = empty + (rows * width + columns * width + 2 * rows * columns) / 3.0e6
            best = min((seen[name] for name in ("scaled_mm", "DeepGEMM") if name in seen), default=seen["bf16"])
            ratios[rows].append(best / seen["ours"])
            cells = "".join(f"{seen.get(name, math.nan):{size}.1f}" for name, size in (("ours", 8), ("bf16", 8)))
            cells += f"{seen.get('scaled_mm', math.nan):11.1f}{seen.get('DeepGEMM', math.nan):10.1f}"
            print(f"{columns}x{width:<6}{rows:5}{floor:8.1f}{cells}{ratios[rows][-1]:7.2f}{error:10.1e}", flush=True)
    for rows, some in ratios.items():
        print(f"M {rows}: geometric mean against the better peer {math.exp(sum(map(math.log, some)) / len(some)):.3f}")
    every = [one for some in ratios.values() for one in some]
    print(f"all: {math.exp(sum(map(math.log, every)) / len(every)):.3f}")


if __name__ == "__main__":
    main()
