"""The weight's format and the product in plain PyTorch."""

from dataclasses import dataclass

import torch

GROUP = 128


@dataclass(frozen=True)
class Codes:
    """(N, K) in 4 bits: value = (code - zero) * scale.

    codes: (N, K) uint8 from 0 to 15. scales, zeros: (N, K / 128) bfloat16; zeros are whole numbers from 0 to 15.
    """

    codes: torch.Tensor
    scales: torch.Tensor
    zeros: torch.Tensor


def quantize(w: torch.Tensor) -> Codes:
    """(N, K) of any float type, K a multiple of 128, each group between its least and its largest value."""
    groups = w.float().unflatten(-1, (-1, GROUP))
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scales = ((high - low) / 15).clamp(min=1e-8).bfloat16()
    zeros = (-low / scales.float()).round().clamp(0, 15)
    codes = (groups / scales.float()[..., None] + zeros[..., None]).round().clamp(0, 15)
    return Codes(codes.flatten(-2).to(torch.uint8), scales, zeros.bfloat16())


def dequantize(codes: Codes) -> torch.Tensor:
    """Back to fp32."""
    groups = codes.codes.float().unflatten(-1, (-1, GROUP))
    return ((groups - codes.zeros.float()[..., None]) * codes.scales.float()[..., None]).flatten(-2)


def gemm(x: torch.Tensor, codes: Codes) -> torch.Tensor:
    """x (M, K) times the weight, to (M, N) fp32."""
    return x.float() @ dequantize(codes).t()
