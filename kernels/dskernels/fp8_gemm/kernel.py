"""FP8 block-scaled matrix product: a kernel in Triton-lang for few rows, wgmma.sm_90a.cu for more.

For few rows of activations a large weight is read once: the weight's rows take the wide side of a tensor-core tile and
the activations the narrow one, so that one row of activations wastes little. K is split over multiprocessors where N
alone gives too few tiles: the last one of a tile to arrive adds the parts up. Every 128 of K the tensor core's sum is
scaled and promoted to fp32.
"""

import torch
import triton
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from dskernels.cubin import Kernel
from dskernels.errors import KernelError
from dskernels.fp8_gemm.choice import BLOCK_M, ROWS_BESIDE, WGMMA, Choice, Wgmma, choose, choose_wgmma
from dskernels.tensor_map import TensorMap
from dskernels.workspace import Workspace

GROUP = 128
THREADS = 384
KERNELS = {
    one: Kernel("fp8_gemm/wgmma.sm_90a.cu", f"fp8_gemm_{one.columns}_{one.splits}_{one.pair}", shared=one.shared)
    for one in WGMMA
}


def gemm(
    x: torch.Tensor,
    x_scales: torch.Tensor,
    w: torch.Tensor,
    w_scales: torch.Tensor,
    *,
    workspace: Workspace,
    choice: Choice | Wgmma | None = None,
) -> torch.Tensor:
    """x (M, K) e4m3 with (M, K / 128) fp32, w (N, K) e4m3 with (ceil(N / 128), K / 128) fp32, to (M, N) bf16.

    All contiguous, K a multiple of 128. Raises KernelError.
    """
    _check(x, x_scales, w, w_scales)
    (rows, width), columns = x.shape, w.shape[0]
    out = torch.empty((rows, columns), dtype=torch.bfloat16, device=x.device)
    if not rows or not columns:
        return out
    chosen = choice or _choose(x, columns)
    if isinstance(chosen, Wgmma):
        _launch(x, x_scales, w, w_scales, out, choice=chosen)
        return out
    tiles_n, tiles_m = triton.cdiv(columns, chosen.block_n), triton.cdiv(rows, chosen.block_m)
    splits = workspace.fit(tiles_n * tiles_m, min(chosen.splits, width // GROUP), chosen.block_n * chosen.block_m)
    weight = TensorDescriptor.from_tensor(w, [chosen.block_n, GROUP])
    active = TensorDescriptor.from_tensor(x, [chosen.block_m, GROUP])
    _gemm[(tiles_n, tiles_m, splits)](
        active,
        x_scales,
        weight,
        w_scales,
        out,
        workspace.parts,
        workspace.counts,
        rows,
        columns,
        width,
        splits,
        BLOCK_N=chosen.block_n,
        BLOCK_M=chosen.block_m,
        IS_SPLIT=splits > 1,
        GROUP=GROUP,
        num_warps=chosen.warps,
        num_stages=chosen.stages,
    )
    return out


def _choose(x: torch.Tensor, columns: int) -> Choice | Wgmma:
    rows, width = x.shape
    better = choose_wgmma(rows, columns, width)
    if better and x.is_cuda and torch.cuda.get_device_capability(x.device) == (9, 0) and KERNELS[better].is_there():
        return better
    return choose(rows, columns, width)


def _launch(
    x: torch.Tensor,
    x_scales: torch.Tensor,
    w: torch.Tensor,
    w_scales: torch.Tensor,
    out: torch.Tensor,
    *,
    choice: Wgmma,
) -> None:
    """The kernel in CUDA C++."""
    (rows, width), columns = x.shape, w.shape[0]
    cluster = choice.splits * choice.pair
    clusters = -(-rows // BLOCK_M) * -(-columns // (choice.columns * choice.pair))
    if choice.splits == 1:
        clusters = min(clusters, torch.cuda.get_device_properties(x.device).multi_processor_count // cluster)
    maps = TensorMap(x, box=BLOCK_M // choice.pair), TensorMap(w, box=choice.columns)
    sizes = (rows, columns, width, ROWS_BESIDE)
    with torch.cuda.device(x.device):
        KERNELS[choice].launch((clusters * cluster, 1, 1), THREADS, (*maps, x_scales, w_scales, out, *sizes))


def _check(x: torch.Tensor, x_scales: torch.Tensor, w: torch.Tensor, w_scales: torch.Tensor) -> None:
    if x.dtype is not torch.float8_e4m3fn or w.dtype is not torch.float8_e4m3fn:
        raise KernelError(f"the operands are {x.dtype} and {w.dtype}, wanted float8_e4m3fn")
    if x.dim() != 2 or w.dim() != 2 or x.shape[1] != w.shape[1] or x.shape[1] % GROUP:
        raise KernelError(f"{tuple(x.shape)} times {tuple(w.shape)}: wanted (M, K) and (N, K), K a multiple of {GROUP}")
    blocks = x.shape[1] // GROUP
    wanted = {"activations": (x.shape[0], blocks), "weight": (-(-w.shape[0] // GROUP), blocks)}
    for what, scales in (("activations", x_scales), ("weight", w_scales)):
        if tuple(scales.shape) != wanted[what] or scales.dtype is not torch.float32:
            found = f"{tuple(scales.shape)} {scales.dtype}"
            raise KernelError(f"the scales of the {what} are {found}, wanted {wanted[what]} float32")
    if x.is_cuda and torch.cuda.get_device_capability(x.device) < (9, 0):
        name = torch.cuda.get_device_name(x.device)
        raise KernelError(f"{name} has no e4m3 tensor cores; use weight_dequant and a bf16 product there")
    if not all(one.is_contiguous() for one in (x, x_scales, w, w_scales)):
        raise KernelError("an operand is not contiguous")


@triton.jit
def _gemm(
    x,
    x_scales,
    w,
    w_scales,
    out,
    parts,
    counts,
    rows,
    columns,
    width,
    splits,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
    IS_SPLIT: tl.constexpr,
    GROUP: tl.constexpr,
):
    tile_n, tile_m, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    n = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    m = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    blocks = width // GROUP
    begin, end = split * blocks // splits, (split + 1) * blocks // splits
    # A tile of the weight lies within one row of scale blocks. Rows that are not there come as zeros.
    w_scale_place = w_scales + (tile_n * BLOCK_N // GROUP) * blocks
    x_scale_place = x_scales + tl.where(m < rows, m, 0) * blocks
    total = tl.zeros((BLOCK_N, BLOCK_M), dtype=tl.float32)
    for block in range(begin, end):
        weight = w.load([tile_n * BLOCK_N, block * GROUP])
        active = x.load([tile_m * BLOCK_M, block * GROUP])
        scale = tl.load(x_scale_place + block) * tl.load(w_scale_place + block)
        total += tl.dot(weight, active.T) * scale[None, :]
    is_there = (n < columns)[:, None] & (m < rows)[None, :]
    place = out + m[None, :].to(tl.int64) * columns + n[:, None]
    if IS_SPLIT:
        tile = tile_m * tl.num_programs(0) + tile_n
        inner = tl.arange(0, BLOCK_N)[:, None] * BLOCK_M + tl.arange(0, BLOCK_M)[None, :]
        first = parts + (tile * splits).to(tl.int64) * (BLOCK_N * BLOCK_M) + inner
        tl.store(first + split * (BLOCK_N * BLOCK_M), total)
        tl.debug_barrier()  # all of the part is written before it is counted
        before = tl.atomic_add(counts + tile, 1, sem="acq_rel")
        if before == splits - 1:
            total = tl.load(first, cache_modifier=".cg")
            for other in range(1, splits):
                total += tl.load(first + other * (BLOCK_N * BLOCK_M), cache_modifier=".cg")
            tl.store(place, total.to(tl.bfloat16), mask=is_there)
            tl.store(counts + tile, 0)
    else:
        tl.store(place, total.to(tl.bfloat16), mask=is_there)
