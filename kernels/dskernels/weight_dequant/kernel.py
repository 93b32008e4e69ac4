"""e4m3 weights to bf16, limited by memory: 1 byte in, 2 out. Runs from sm_80 on, where no instruction knows e4m3."""

import torch
import triton
import triton.language as tl

from dskernels.errors import KernelError

GROUP = 128
# Rows of a block of 128 that one program takes, and its warps: measured, see README.md.
ROWS, WARPS = 64, 4
# e4m3's bits, moved into fp32's places, are the value times 2 ** -120: the exponents' biases are 7 and 127.
BIAS = tl.constexpr(2.0**120)


def dequantize(w: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """(N, K) e4m3 with (ceil(N / 128), ceil(K / 128)) fp32 scales, contiguous, to (N, K) bf16. Raises KernelError.

    `weight` and `weight_scale_inv` of DeepSeek-V3 and R1 checkpoints. Any N and K; quickest with K a multiple of 16.
    """
    _check(w, scales)
    rows, width = w.shape
    out = torch.empty((rows, width), dtype=torch.bfloat16, device=w.device)
    if out.numel():
        grid = (triton.cdiv(width, GROUP), triton.cdiv(rows, ROWS))
        codes = w.view(torch.uint8)
        _dequantize[grid](codes, scales, out, rows, width, ROWS=ROWS, GROUP=GROUP, num_warps=WARPS)
    return out


def _check(w: torch.Tensor, scales: torch.Tensor) -> None:
    if w.dtype is not torch.float8_e4m3fn or w.dim() != 2:
        raise KernelError(f"the weight is {tuple(w.shape)} {w.dtype}, wanted (N, K) float8_e4m3fn")
    wanted = (-(-w.shape[0] // GROUP), -(-w.shape[1] // GROUP))
    if tuple(scales.shape) != wanted or scales.dtype is not torch.float32:
        raise KernelError(f"the scales are {tuple(scales.shape)} {scales.dtype}, wanted {wanted} float32")
    if not w.is_contiguous() or not scales.is_contiguous():
        raise KernelError("the weight or its scales are not contiguous; `.contiguous()` first")


@triton.jit
def _dequantize(codes, scales, out, rows, width, ROWS: tl.constexpr, GROUP: tl.constexpr):
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) * GROUP + tl.arange(0, GROUP)
    offsets = row[:, None].to(tl.int64) * width + column[None, :]
    is_there = (row < rows)[:, None] & (column < width)[None, :]
    code = tl.load(codes + offsets, mask=is_there, other=0).to(tl.uint32)
    scale = tl.load(scales + tl.program_id(1) * ROWS // GROUP * tl.num_programs(0) + tl.program_id(0))
    bits = (code & 0x80) << 24 | (code & 0x7F) << 20
    value = bits.to(tl.float32, bitcast=True) * BIAS
    value = tl.where((code & 0x7F) == 0x7F, float("nan"), value)
    tl.store(out + offsets, (value * scale).to(tl.bfloat16), mask=is_there)
