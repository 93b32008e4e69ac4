"""The same in plain PyTorch, in fp32."""

import torch


def gemm(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """x (M, K) times w (N, K), transposed, to (M, N) fp32."""
    return x.float() @ w.float().t()
