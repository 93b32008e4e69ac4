"""The same in plain PyTorch, in fp32: what the kernels are measured against."""

import torch

GROUP = 128
LARGEST = 448.0  # of e4m3
SMALLEST = 1e-4  # of a group's largest value, so that a group of zeros has a scale


def quantize(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, K) of any float type to ((M, K) e4m3, (M, K / 128) fp32); value = e4m3 * scale. K: a multiple of 128."""
    groups = x.float().unflatten(-1, (-1, GROUP))
    largest = groups.abs().amax(-1).clamp(min=SMALLEST)
    values = (groups * (LARGEST / largest)[..., None]).clamp(-LARGEST, LARGEST)
    return values.to(torch.float8_e4m3fn).flatten(-2), largest / LARGEST


def rms_norm(x: torch.Tensor, weight: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """(M, K) in fp32, not yet rounded: x / rms(x) * weight (K)."""
    wide = x.float()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon) * weight.float()


def silu_mul(x: torch.Tensor) -> torch.Tensor:
    """(M, 2 K), gate beside up, to (M, K) in fp32: silu(gate) * up."""
    gate, up = x.float().chunk(2, dim=-1)
    return torch.nn.functional.silu(gate) * up


def dequantize(values: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Back to fp32."""
    return (values.float().unflatten(-1, (-1, GROUP)) * scales[..., None]).flatten(-2)
