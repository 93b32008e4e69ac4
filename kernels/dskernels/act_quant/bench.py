"""act_quant against DeepSeek's own kernel and the steps apart: `python -m dskernels.act_quant.bench [KERNEL.PY]`.

KERNEL.PY: the public `inference/kernel.py` of DeepSeek-V3, for the comparison; it is not part of this project.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import torch

from dskernels.act_quant import kernel, reference
from dskernels.bench import Clock

HIDDEN, INNER = 7168, 18432
ROWS = (1, 16, 128, 4096, 32768)


def load(path: Path) -> ModuleType:
    """The peer's file as a module."""
    spec = importlib.util.spec_from_file_location("peer", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def silu_mul(x: torch.Tensor) -> torch.Tensor:
    """The step before, in PyTorch's compiled form: one kernel, bf16 out."""
    return reference.silu_mul(x).bfloat16()


def chain(first: Callable[..., torch.Tensor], *arguments: torch.Tensor) -> object:
    """The step before, then our quantize."""
    return kernel.quantize(first(*arguments))


def list_works(peer: ModuleType | None) -> Iterator[tuple[str, int, dict[str, Callable[[], object]]]]:
    """(case, bytes that must move, what is timed)."""
    fused_silu = torch.compile(silu_mul)
    fused_norm = torch.compile(lambda x, w: torch.nn.functional.rms_norm(x, (x.shape[-1],), w, 1e-6))
    for rows in ROWS:
        x = torch.randn(rows, HIDDEN, device="cuda", dtype=torch.bfloat16)
        weight = torch.randn(HIDDEN, device="cuda", dtype=torch.bfloat16)
        pair = torch.randn(min(rows, 8192), 2 * INNER, device="cuda", dtype=torch.bfloat16)
        quantize: dict[str, Callable[[], object]] = {"ours": partial(kernel.quantize, x)}
        if peer:
            quantize["DeepSeek"] = partial(peer.act_quant, x)
        yield f"quantize M {rows}", x.numel() * 3, quantize
        norm: dict[str, Callable[[], object]] = {
            "ours": partial(kernel.rms_norm_quantize, x, weight),
            "two kernels": partial(chain, fused_norm, x, weight),
        }
        yield f"rms_norm M {rows}", x.numel() * 3, norm
        silu: dict[str, Callable[[], object]] = {
            "ours": partial(kernel.silu_mul_quantize, pair),
            "two kernels": partial(chain, fused_silu, pair),
        }
        yield f"silu_mul M {rows}", pair.numel() // 2 * 5, silu


def main() -> None:
    """Prints one table."""
    peer = load(Path(sys.argv[1])) if len(sys.argv) > 1 else None
    clock = Clock()
    print(f"{torch.cuda.get_device_name()}; an empty graph takes {clock.empty():.1f} us")
    print(f"{'case':<18}{'us':>8}{'GB/s':>7}  against")
    for case, size, works in list_works(peer):
        seen = clock.compare(works)
        ours = seen.pop("ours")
        others = ", ".join(f"{who} {one:.1f} us = {one / ours:.2f}x" for who, one in seen.items())
        print(f"{case:<18}{ours:8.1f}{size / ours / 1e3:7.0f}  {others}")


if __name__ == "__main__":
    main()
