"""weight_dequant against DeepSeek's own and PyTorch's compiled form.

`python -m dskernels.weight_dequant.bench [KERNEL.PY]`. KERNEL.PY: the public `inference/kernel.py` of DeepSeek-V3,
for the comparison; it is not part of this project.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import torch

from dskernels.act_quant.bench import load
from dskernels.bench import Clock
from dskernels.fp8_gemm.bench import SHAPES
from dskernels.fp8_gemm.reference import quantize_weight
from dskernels.weight_dequant import kernel, reference


def run_peer(peer: ModuleType, w: torch.Tensor, scales: torch.Tensor) -> object:
    """DeepSeek's, which takes its output's type from PyTorch's default."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        return peer.weight_dequant(w, scales)
    finally:
        torch.set_default_dtype(before)


def list_works(peer: ModuleType | None) -> Iterator[tuple[str, int, dict[str, Callable[[], object]]]]:
    """(case, bytes that must move, what is timed)."""
    compiled = torch.compile(reference.dequantize, dynamic=False)
    for rows, width in SHAPES:
        w, scales = quantize_weight(torch.randn(rows, width, device="cuda"))
        works: dict[str, Callable[[], object]] = {
            "ours": partial(kernel.dequantize, w, scales),
            "compiled": partial(compiled, w, scales),
        }
        if peer:
            works["DeepSeek"] = partial(run_peer, peer, w, scales)
        yield f"{rows}x{width}", 3 * w.numel(), works


def main() -> None:
    """Prints one row a shape."""
    peer = load(Path(sys.argv[1])) if len(sys.argv) > 1 else None
    clock = Clock()
    print(f"{torch.cuda.get_device_name()}; an empty graph takes {clock.empty():.1f} us; microseconds, cold L2")
    for case, size, works in list_works(peer):
        seen = clock.compare(works)
        ours = seen.pop("ours")
        others = ", ".join(f"{who} {one:.1f} us = {one / ours:.2f}x" for who, one in seen.items())
        print(f"{case:<18}{ours:8.1f}{size / ours / 1e3:7.0f} GB/s  {others}", flush=True)


if __name__ == "__main__":
    main()
