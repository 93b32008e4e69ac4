"""act_quant against DeepSeek's own kernel and the steps apart: `python -m dskernels.act_quant.bench [KERNEL.PY]`.

KERNEL.PY: the public `inference/kernel.py` of DeepSeek-V3, for the comparison; it is not part of this project.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch

from dskernels.act_quant import kernel, reference
from dskernels.bench import Clock

HIDDEN, INNER = 7168, 18432


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


def main() -> None:
    """Prints one table."""
    peer = load(Path(sys.argv[1])) if len(sys.argv) > 1 else None
    clock = Clock()
    fused_silu = torch.compile(silu_mul)
    fused_norm = torch.compile(lambda x, w: torch.nn.functional.rms_norm(x, (x.shape[-1],), w, 1e-6))
    print(f"{torch.cuda.get_device_name()}; an empty graph takes {clock.empty():.1f} us")
    print(f"{'M':>6} {'op':<10}{'us':>8}{'GB/s':>7}  against")
    for rows in (1, 16, 128, 4096, 32768):
        x = torch.randn(rows, HIDDEN, device="cuda", dtype=torch.bfloat16)
        weight = torch.randn(HIDDEN, device="cuda", dtype=torch.bfloat16)
        pair = torch.randn(min(rows, 8192), 2 * INNER, device="cuda", dtype=torch.bfloat16)
        works: dict[str, dict[str, Callable[[], object]]] = {
            "quantize": {"ours": lambda x=x: kernel.quantize(x)},
            "rms_norm": {
                "ours": lambda x=x, w=weight: kernel.rms_norm_quantize(x, w),
                "two kernels": lambda x=x, w=weight: kernel.quantize(fused_norm(x, w)),
            },
            "silu_mul": {
                "ours": lambda p=pair: kernel.silu_mul_quantize(p),
                "two kernels": lambda p=pair: kernel.quantize(fused_silu(p)),
            },
        }
        if peer:
            works["quantize"]["DeepSeek"] = lambda x=x: peer.act_quant(x)
        moved = {"quantize": x.numel() * 3, "rms_norm": x.numel() * 3, "silu_mul": pair.numel() / 2 * 5}
        for name, all_of in works.items():
            seen = clock.compare(all_of)
            ours = seen.pop("ours")
            others = ", ".join(f"{who} {one:.1f} us = {one / ours:.2f}x" for who, one in seen.items())
            print(f"{rows:6} {name:<10}{ours:8.1f}{moved[name] / ours / 1e3:7.0f}  {others}")


if __name__ == "__main__":
    main()
