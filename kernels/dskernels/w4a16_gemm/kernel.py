"""4-bit weights times bf16 activations by kernels in CUDA C++, and the layout that they want.

kernel.cu is for every GPU and up to 16 rows at a time; bulk.sm_90a.cu for one row on Hopper.
"""

from dataclasses import dataclass

import torch

from dskernels.cubin import Kernel
from dskernels.errors import KernelError
from dskernels.w4a16_gemm.choice import BULKS, GROUP, SHARED, STRIP, Bulk, Choice, choose, choose_bulk
from dskernels.w4a16_gemm.reference import Codes
from dskernels.workspace import Workspace

THREADS = 256
PADDED = 64
KERNELS = {(s, t): Kernel("w4a16_gemm/kernel.cu", f"w4a16_gemm_{s}_{t}") for s in (1, 2, 4) for t in (8, 16)}
BULK_KERNELS = {
    one: Kernel("w4a16_gemm/bulk.sm_90a.cu", f"w4a16_gemm_bulk_{one.strips}_{one.slots}", shared=SHARED)
    for one in BULKS
}


@dataclass(frozen=True)
class Weight:
    """(rows, width) as the tensor core wants it; rows are padded to a multiple of 64. Opaque: `pack` makes it."""

    units: torch.Tensor
    rows: int
    width: int


def pack(codes: Codes) -> Weight:
    """Once, when a model is loaded: (groups, strips) of units as four_bit.cuh says, in words of 32 bits."""
    rows, width = codes.codes.shape
    if width % GROUP:
        raise KernelError(f"the weight is ({rows}, {width}); the last dimension must be a multiple of {GROUP}")
    strips, groups = -(-rows // PADDED) * (PADDED // STRIP), width // GROUP
    parts = (
        _pack_codes(codes.codes, strips=strips, groups=groups),
        _pack_scales(codes.scales, strips=strips, groups=groups),
        _pack_zeros(codes.zeros, strips=strips, groups=groups),
    )
    return Weight(_to_words(torch.cat(parts, -1)).transpose(0, 1).contiguous(), rows, width)


def _pack_codes(codes: torch.Tensor, *, strips: int, groups: int) -> torch.Tensor:
    """(strips, groups, 256). In each strip, for each 64 of K, a lane (8 rows g x 4 places t) holds four words.

    Word j has the codes of rows g and g + 8 at k = 16 t + 4 j + 0..3, in the order of a fragment of m16n8k16.
    """
    padded = torch.zeros((strips * STRIP, codes.shape[1]), dtype=torch.int64, device=codes.device)
    padded[: codes.shape[0]] = codes
    # strip, upper or lower 8 rows, row | group, half, place, word, pair, which of the pair
    axes = padded.view(strips, 2, 8, groups, 2, 4, 4, 2, 2)
    words = torch.zeros((strips, 8, groups, 2, 4, 4), dtype=torch.int64, device=padded.device)
    for lower in range(2):
        for pair in range(2):
            shift = 4 * (lower + 2 * pair)
            both = axes[:, lower, ..., pair, :]
            words |= both[..., 0] << shift | both[..., 1] << (16 + shift)
    # strip, row, group, half, place, word -> strip, group, half, row, place, word
    return words.permute(0, 2, 3, 1, 4, 5).reshape(strips, groups, -1)


def _pack_scales(scales: torch.Tensor, *, strips: int, groups: int) -> torch.Tensor:
    """(strips, groups, 8): the scale of row g in the low half of a word, of row g + 8 in the high half."""
    pairs = _pair_rows(scales.view(torch.int16).to(torch.int64) & 0xFFFF, strips=strips, groups=groups)
    return pairs[..., 0] | pairs[..., 1] << 16


def _pack_zeros(zeros: torch.Tensor, *, strips: int, groups: int) -> torch.Tensor:
    """(strips, groups, 4): in 16 bits the zero point of row g below that of row g + 8; two such in a word."""
    pairs = _pair_rows(zeros.to(torch.int64), strips=strips, groups=groups)
    halves = pairs[..., 0] | pairs[..., 1] << 8
    return halves[..., 0::2] | halves[..., 1::2] << 16


def _pair_rows(values: torch.Tensor, *, strips: int, groups: int) -> torch.Tensor:
    """(rows, groups) to (strips, groups, 8, 2): a row beside the one 8 below it."""
    padded = torch.zeros((strips * STRIP, groups), dtype=torch.int64, device=values.device)
    padded[: values.shape[0]] = values
    return padded.view(strips, 2, 8, groups).permute(0, 3, 2, 1)


def _to_words(values: torch.Tensor) -> torch.Tensor:
    """The low 32 bits of each."""
    return (values & 0xFFFFFFFF).sub(1 << 32, alpha=1).where(values & 0x80000000 != 0, values & 0xFFFFFFFF).int()


def gemm(x: torch.Tensor, weight: Weight, *, workspace: Workspace, choice: Choice | Bulk | None = None) -> torch.Tensor:
    """x (M, K) bf16, contiguous, times the weight (N, K), to (M, N) bf16. Raises KernelError.

    Made for M up to 16; more rows are taken 16 at a time.
    """
    if x.dtype is not torch.bfloat16 or x.dim() != 2 or x.shape[1] != weight.width or not x.is_contiguous():
        found = f"{tuple(x.shape)} {x.dtype}"
        raise KernelError(f"the activations are {found}, wanted (M, {weight.width}) bfloat16, contiguous")
    if x.data_ptr() % 16:
        raise KernelError("the activations do not begin at a multiple of 16 bytes; `.clone()` first")
    out = torch.empty((x.shape[0], weight.rows), dtype=torch.bfloat16, device=x.device)
    if not x.shape[0] or not weight.rows:
        return out
    chosen = choice or _choose(x, weight)
    if isinstance(chosen, Bulk):
        _launch_bulk(x, weight, out, choice=chosen)
    else:
        _launch(x, weight, out, workspace=workspace, choice=chosen)
    return out


def _choose(x: torch.Tensor, weight: Weight) -> Choice | Bulk:
    better = choose_bulk(weight.rows, weight.width, x.shape[0])
    if better and torch.cuda.get_device_capability(x.device) == (9, 0) and BULK_KERNELS[better].is_there():
        return better
    return choose(weight.rows, weight.width, x.shape[0])


def _launch_bulk(x: torch.Tensor, weight: Weight, out: torch.Tensor, *, choice: Bulk) -> None:
    groups = weight.width // GROUP
    grid = (choice.count_blocks(weight.rows), 1, 1)
    threads = 32 * choice.count_warps(groups)
    BULK_KERNELS[choice].launch(grid, threads, (weight.units, x, out, weight.rows, groups))


def _launch(x: torch.Tensor, weight: Weight, out: torch.Tensor, *, workspace: Workspace, choice: Choice) -> None:
    rows = x.shape[0]
    tokens = 8 if rows <= 8 else 16
    tiles_n, tiles_m = -(-weight.rows // (STRIP * choice.strips)), -(-rows // tokens)
    splits = workspace.fit(tiles_n * tiles_m, choice.splits, tokens * STRIP * choice.strips)
    arguments = (weight.units, x, out, workspace.parts, workspace.counts, rows, weight.rows, weight.width)
    KERNELS[choice.strips, tokens].launch((tiles_n, splits, tiles_m), THREADS, arguments)
