"""The same in plain PyTorch."""

import torch

GROUP = 128


def dequantize(w: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """(N, K) e4m3 with (ceil(N / 128), ceil(K / 128)) fp32 scales to (N, K) bf16, rounded once from fp32."""
    rows, width = w.shape
    spread = scales.repeat_interleave(GROUP, 0)[:rows].repeat_interleave(GROUP, 1)[:, :width]
    return (w.float() * spread).bfloat16()
