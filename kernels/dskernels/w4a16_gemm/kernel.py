"""4-bit weights times bf16 activations by a kernel in CUDA C++ (kernel.cu), and the layout that it wants."""

from dataclasses import dataclass

import torch

from dskernels.cubin import Kernel
from dskernels.errors import KernelError
from dskernels.w4a16_gemm.choice import GROUP, Choice, choose
from dskernels.w4a16_gemm.reference import Codes
from dskernels.workspace import Workspace

THREADS = 256
STRIP, PADDED = 16, 64
SOURCE = "w4a16_gemm/kernel.cu"
KERNELS = {(s, t): Kernel(SOURCE, f"w4a16_gemm_{s}_{t}") for s in (1, 2, 4) for t in (8, 16)}


@dataclass(frozen=True)
class Weight:
    """(rows, width) as the tensor core wants it; rows are padded to a multiple of 64. Opaque: `pack` makes it."""

    codes: torch.Tensor
    scales: torch.Tensor
    rows: int
    width: int


def pack(codes: Codes) -> Weight:
    """Once, when a model is loaded.

    In each strip of 16 rows, for each 64 of K, a lane (8 rows g x 4 places t) holds four words; word j has the codes of
    rows g and g + 8 at k = 16 t + 4 j + 0..3, in the order of a fragment of m16n8k16.
    """
    rows, width = codes.codes.shape
    if width % GROUP:
        raise KernelError(f"the weight is ({rows}, {width}); the last dimension must be a multiple of {GROUP}")
    strips, groups = -(-rows // PADDED) * (PADDED // STRIP), width // GROUP
    padded = torch.zeros((strips * STRIP, width), dtype=torch.int64, device=codes.codes.device)
    padded[:rows] = codes.codes
    # strip, upper or lower 8 rows, row | group, half, place, word, pair, which of the pair
    axes = padded.view(strips, 2, 8, groups, 2, 4, 4, 2, 2)
    words = torch.zeros((strips, 8, groups, 2, 4, 4), dtype=torch.int64, device=padded.device)
    for lower in range(2):
        for pair in range(2):
            shift = 4 * (lower + 2 * pair)
            both = axes[:, lower, ..., pair, :]
            words |= both[..., 0] << shift | both[..., 1] << (16 + shift)
    # strip, row, group, half, place, word -> strip, group, half, row, place, word
    ordered = words.permute(0, 2, 3, 1, 4, 5).contiguous()
    return Weight(_to_words(ordered), _pack_scales(codes, strips=strips, groups=groups), rows, width)


def _pack_scales(codes: Codes, *, strips: int, groups: int) -> torch.Tensor:
    """One word a row and group: the scale's 16 bits below, 128 + zero above; a lane's two rows beside each other."""
    rows = codes.scales.shape[0]
    bits = codes.scales.view(torch.int16).to(torch.int64) & 0xFFFF
    bits |= ((codes.zeros.float() + 128).bfloat16().view(torch.int16).to(torch.int64) & 0xFFFF) << 16
    padded = torch.zeros((strips * STRIP, groups), dtype=torch.int64, device=bits.device)
    padded[:rows] = bits
    # strip, lower, row, group -> strip, group, row, lower
    return _to_words(padded.view(strips, 2, 8, groups).permute(0, 3, 2, 1).contiguous())


def _to_words(values: torch.Tensor) -> torch.Tensor:
    """The low 32 bits of each."""
    return (values & 0xFFFFFFFF).sub(1 << 32, alpha=1).where(values & 0x80000000 != 0, values & 0xFFFFFFFF).int()


def gemm(x: torch.Tensor, weight: Weight, *, workspace: Workspace, choice: Choice | None = None) -> torch.Tensor:
    """x (M, K) bf16, contiguous, times the weight (N, K), to (M, N) bf16. Raises KernelError.

    Made for M up to 16; more rows are taken 16 at a time.
    """
    if x.dtype is not torch.bfloat16 or x.dim() != 2 or x.shape[1] != weight.width or not x.is_contiguous():
        found = f"{tuple(x.shape)} {x.dtype}"
        raise KernelError(f"the activations are {found}, wanted (M, {weight.width}) bfloat16, contiguous")
    rows = x.shape[0]
    out = torch.empty((rows, weight.rows), dtype=torch.bfloat16, device=x.device)
    if not rows or not weight.rows:
        return out
    chosen = choice or choose(weight.rows, weight.width, rows)
    tokens = 8 if rows <= 8 else 16
    tiles_n, tiles_m = -(-weight.rows // (STRIP * chosen.strips)), -(-rows // tokens)
    splits = workspace.fit(tiles_n * tiles_m, chosen.splits, tokens * STRIP * chosen.strips)
    tensors = (weight.codes, weight.scales, x, out, workspace.parts, workspace.counts)
    arguments = (*tensors, rows, weight.rows, weight.width)
    KERNELS[chosen.strips, tokens].launch((tiles_n, splits, tiles_m), THREADS, arguments)
    return out
