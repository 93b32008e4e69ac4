"""Quantizes activations by groups of 1x128: alone, after an RMSNorm, after SiLU * up; each byte moves once."""

import torch
import triton
import triton.language as tl

from dskernels.errors import KernelError

GROUP = 128
# Groups that one program takes, and its warps: measured, see README.md. A few KiB a program, many programs.
GROUPS, WARPS = 8, 1
WARPS_SILU = 4
Quantized = tuple[torch.Tensor, torch.Tensor]


def quantize(x: torch.Tensor) -> Quantized:
    """(M, K) bf16, contiguous, K a multiple of 128, to ((M, K) e4m3, (M, K / 128) fp32). Raises KernelError."""
    _check(x)
    values, scales = _make_outputs(x, width=x.shape[-1])
    groups = x.numel() // GROUP
    if groups:
        grid = (triton.cdiv(groups, GROUPS),)
        _quantize[grid](x, values, scales, groups, GROUPS=GROUPS, GROUP=GROUP, num_warps=WARPS)
    return values, scales


def rms_norm_quantize(x: torch.Tensor, weight: torch.Tensor, *, epsilon: float = 1e-6) -> Quantized:
    """RMSNorm of (M, K) bf16 with weight (K) bf16, quantized without a stop in memory. Raises KernelError."""
    _check(x)
    if weight.shape != x.shape[-1:] or not weight.is_contiguous():
        raise KernelError(f"the weight is {tuple(weight.shape)}, wanted ({x.shape[-1]},), contiguous")
    values, scales = _make_outputs(x, width=x.shape[-1])
    width = x.shape[-1]
    rows = x.numel() // width
    if rows:
        block = triton.next_power_of_2(width // GROUP)
        warps = min(8, max(1, block * GROUP // 1024))
        args = (x, weight, values, scales, width, epsilon)
        _rms_norm_quantize[(rows,)](*args, BLOCK=block, GROUP=GROUP, num_warps=warps)
    return values, scales


def silu_mul_quantize(x: torch.Tensor) -> Quantized:
    """silu(gate) * up of (M, 2 K) bf16, gate beside up, quantized to (M, K) and its scales. Raises KernelError."""
    _check(x)
    if x.shape[-1] % (2 * GROUP):
        raise KernelError(f"rows of {x.shape[-1]} are not two halves of whole groups of {GROUP}")
    width = x.shape[-1] // 2
    values, scales = _make_outputs(x, width=width)
    groups = values.numel() // GROUP
    if groups:
        grid = (triton.cdiv(groups, GROUPS),)
        args = (x, values, scales, groups, width)
        _silu_mul_quantize[grid](*args, GROUPS=GROUPS, GROUP=GROUP, num_warps=WARPS_SILU)
    return values, scales


def _check(x: torch.Tensor) -> None:
    if x.dtype is not torch.bfloat16:
        raise KernelError(f"the activations are {x.dtype}, wanted bfloat16")
    if x.dim() < 1 or x.shape[-1] % GROUP or not x.shape[-1]:
        raise KernelError(f"the activations are {tuple(x.shape)}; the last dimension must be a multiple of {GROUP}")
    if not x.is_contiguous():
        raise KernelError("the activations are not contiguous; `.contiguous()` first")


def _make_outputs(x: torch.Tensor, *, width: int) -> Quantized:
    rows = x.shape[:-1]
    values = torch.empty((*rows, width), dtype=torch.float8_e4m3fn, device=x.device)
    return values, torch.empty((*rows, width // GROUP), dtype=torch.float32, device=x.device)


@triton.jit
def _quantize(x, values, scales, groups, GROUPS: tl.constexpr, GROUP: tl.constexpr):
    group = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    is_there = group < groups
    offsets = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    # Read once: in L2 it makes room for itself.
    wide = tl.load(x + offsets, mask=is_there[:, None], other=0.0, eviction_policy="evict_first").to(tl.float32)
    small, scale = _scale(wide)
    tl.store(values + offsets, small.to(values.dtype.element_ty), mask=is_there[:, None])
    tl.store(scales + group, scale, mask=is_there)


@triton.jit
def _rms_norm_quantize(x, weight, values, scales, width, epsilon, BLOCK: tl.constexpr, GROUP: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    group = tl.arange(0, BLOCK)
    is_there = group < width // GROUP
    offsets = group[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    wide = tl.load(x + row * width + offsets, mask=is_there[:, None], other=0.0).to(tl.float32)
    factor = tl.load(weight + offsets, mask=is_there[:, None], other=0.0).to(tl.float32)
    inverse = tl.rsqrt(tl.sum(tl.sum(wide * wide, 1), 0) / width + epsilon)
    small, scale = _scale(wide * inverse * factor)
    tl.store(values + row * width + offsets, small.to(values.dtype.element_ty), mask=is_there[:, None])
    tl.store(scales + row * (width // GROUP) + group, scale, mask=is_there)


@triton.jit
def _silu_mul_quantize(x, values, scales, groups, width, GROUPS: tl.constexpr, GROUP: tl.constexpr):
    group = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    is_there = group < groups
    row, place = group // (width // GROUP), group % (width // GROUP)
    inner = tl.arange(0, GROUP)[None, :]
    source = (row * 2 * width + place * GROUP)[:, None] + inner
    gate = tl.load(x + source, mask=is_there[:, None], other=0.0).to(tl.float32)
    up = tl.load(x + source + width, mask=is_there[:, None], other=0.0).to(tl.float32)
    small, scale = _scale(gate / (1.0 + tl.exp(-gate)) * up)
    tl.store(values + group[:, None] * GROUP + inner, small.to(values.dtype.element_ty), mask=is_there[:, None])
    tl.store(scales + group, scale, mask=is_there)


@triton.jit
def _scale(wide):
    """(what fits e4m3, the scale) of each row. reference.py names the numbers; the interpreter wants them plain."""
    largest = tl.maximum(tl.max(tl.abs(wide), 1), 1e-4)
    small = wide * (448.0 / largest)[:, None]
    return tl.minimum(tl.maximum(small, -448.0), 448.0), largest / 448.0
