"""w4a16_gemm against PyTorch's own 4-bit product, humming and plain bf16: `python -m dskernels.w4a16_gemm.bench`.

humming-kernels is a peer where it can be imported; it chooses its own kernel for each shape, and quantizes by itself.
"""

from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import cast

import torch

from dskernels.bench import Clock
from dskernels.w4a16_gemm import kernel, reference
from dskernels.workspace import Workspace

SHAPES = ((8192, 8192), (4096, 7168), (7168, 2048), (2112, 7168), (24576, 1536), (576, 7168))
ROWS = (1, 4, 8, 16)
GROUP = 128


def find_humming() -> ModuleType | None:
    """The peer `humming-kernels`, None when it is not installed."""
    try:
        import humming.layer
    except ImportError:
        return None
    return humming.layer


def make_humming(module: ModuleType, wide: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """humming's layer with the same format: 4 bits, groups of 128 with a scale and a zero point each.

    None for a weight that it refuses; 0.1.19 does so at its first product, by an assertion, for 2112 and 576 rows.
    """
    config = {"dtype": "uint4", "group_size": GROUP, "has_zero_point": True}
    layer = module.HummingLayer(*wide.shape, weight_config=config, torch_dtype=torch.bfloat16).cuda()
    layer.load_from_unquantized(wide)
    layer.transform()
    try:
        layer(wide[:1].bfloat16())
    except AssertionError:
        return None
    return cast(Callable[[torch.Tensor], torch.Tensor], layer)


def list_works(workspace: Workspace) -> Iterator[tuple[str, int, float, dict[str, Callable[[], object]]]]:
    """(case, bytes of the codes, relative error, what is timed)."""
    module = find_humming()
    for columns, width in SHAPES:
        wide = torch.randn(columns, width, device="cuda")
        codes = reference.quantize(wide)
        weight, plain = kernel.pack(codes), wide.bfloat16()
        theirs = torch._convert_weight_to_int4pack((codes.codes[:, ::2] << 4) | codes.codes[:, 1::2], 8)
        scales = torch.stack([codes.scales, codes.scales * (8 - codes.zeros)], -1).transpose(0, 1).contiguous()
        humming = make_humming(module, wide) if module else None
        for rows in ROWS:
            x = torch.randn(rows, width, device="cuda", dtype=torch.bfloat16)
            want = reference.gemm(x, codes)
            error = ((kernel.gemm(x, weight, workspace=workspace).float() - want).norm() / want.norm()).item()
            works: dict[str, Callable[[], object]] = {
                "ours": partial(kernel.gemm, x, weight, workspace=workspace),
                "int4pack": partial(torch._weight_int4pack_mm, x, theirs, GROUP, scales),
                "bf16": partial(torch.mm, x, plain.t()),
            }
            if humming:
                # Another rounding of the same weight: near to the wide product, or it does not count.
                near = (humming(x).float() - x.float() @ wide.t()).norm() / (x.float() @ wide.t()).norm()
                assert near < 0.12, f"humming's product is {near:.2f} off"
                works["humming"] = partial(humming, x)
            yield f"M {rows} {columns}x{width}", columns * width // 2, error, works


def main() -> None:
    """Prints one row a shape."""
    clock, workspace = Clock(), Workspace(torch.device("cuda"))
    empty = clock.empty()
    print(f"{torch.cuda.get_device_name()}; an empty graph takes {empty:.1f} us; microseconds, cold L2")
    print(
        f"{'case':<18}{'floor':>8}{'ours':>8}{'int4pack':>10}{'':>7}{'bf16':>8}{'':>7}{'humming':>9}{'':>7}{'error':>10}"
    )
    for case, size, error, works in list_works(workspace):
        seen = clock.compare(works)
        cells = "".join(
            f"{seen[name]:{room}.1f}{seen[name] / seen['ours']:6.2f}x" if name in seen else f"{'-':>{room}}{'':7}"
            for name, room in (("int4pack", 10), ("bf16", 8), ("humming", 9))
        )
        print(f"{case:<18}{empty + size / 3.0e6:8.1f}{seen['ours']:8.1f}{cells}{error:10.1e}", flush=True)


if __name__ == "__main__":
    main()
