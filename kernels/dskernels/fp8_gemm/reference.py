"""The same in plain PyTorch, in fp32 on the dequantized operands."""

import torch

GROUP = 128


def gemm(x: torch.Tensor, x_scales: torch.Tensor, w: torch.Tensor, w_scales: torch.Tensor) -> torch.Tensor:
    """x (M, K) e4m3 with (M, K / 128) fp32, w (N, K) e4m3 with (ceil(N / 128), K / 128) fp32, to (M, N) fp32."""
    wide_x = (x.float().unflatten(-1, (-1, GROUP)) * x_scales[..., None]).flatten(-2)
    return wide_x @ dequantize_weight(w, w_scales).t()


def dequantize_weight(w: torch.Tensor, w_scales: torch.Tensor) -> torch.Tensor:
    """(N, K) e4m3 with one fp32 scale for each 128x128 block, to fp32."""
    spread = w_scales.repeat_interleave(GROUP, 0)[: w.shape[0]].repeat_interleave(GROUP, 1)
    return w.float() * spread[:, : w.shape[1]]


def quantize_weight(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, K) to e4m3 and the scales of its blocks, as a checkpoint holds them (`weight`, `weight_scale_inv`)."""
    rows, width = w.shape
    padded = torch.zeros((-(-rows // GROUP) * GROUP, width), device=w.device)
    padded[:rows] = w.float()
    blocks = padded.view(-1, GROUP, width // GROUP, GROUP)
    scales = blocks.abs().amax((1, 3)).clamp(min=1e-4) / 448.0
    values = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn)
    return values.view(-1, width)[:rows].contiguous(), scales.contiguous()
