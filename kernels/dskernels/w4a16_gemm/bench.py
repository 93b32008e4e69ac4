"""w4a16_gemm against PyTorch's own 4-bit product and plain bf16: `python -m dskernels.w4a16_gemm.bench`."""

import torch

from dskernels.bench import Clock
from dskernels.w4a16_gemm import kernel, reference
from dskernels.workspace import Workspace

SHAPES = ((8192, 8192), (4096, 7168), (7168, 2048), (2112, 7168), (24576, 1536), (576, 7168))
ROWS = (1, 4, 8, 16)
GROUP = 128


def main() -> None:
    """Prints one row a shape."""
    clock, workspace = Clock(), Workspace(torch.device("cuda"))
    empty = clock.empty()
    print(f"{torch.cuda.get_device_name()}; an empty graph takes {empty:.1f} us; microseconds, cold L2")
    print(f"{'N x K':<12}{'M':>4}{'floor':>8}{'ours':>8}{'int4pack':>10}{'':>7}{'bf16':>8}{'':>7}{'error':>10}")
    for columns, width in SHAPES:
        wide = torch.randn(columns, width, device="cuda")
        codes = reference.quantize(wide)
        weight, plain = kernel.pack(codes), wide.bfloat16()
        theirs = torch._convert_weight_to_int4pack((codes.codes[:, ::2] << 4) | codes.codes[:, 1::2], 8)
        scales = torch.stack([codes.scales, codes.scales * (8 - codes.zeros)], -1).transpose(0, 1).contiguous()
        for rows in ROWS:
            x = torch.randn(rows, width, device="cuda", dtype=torch.bfloat16)
            want = reference.gemm(x, codes)
            error = ((kernel.gemm(x, weight, workspace=workspace).float() - want).norm() / want.norm()).item()
            seen = clock.compare(
                {
                    "ours": lambda x=x, w=weight: kernel.gemm(x, w, workspace=workspace),
                    "int4pack": lambda x=x, w=theirs, s=scales: torch._weight_int4pack_mm(x, w, GROUP, s),
                    "bf16": lambda x=x, w=plain: torch.mm(x, w.t()),
                }
            )
            floor = empty + columns * width / 2 / 3.0e6
            cells = "".join(
                f"{seen[name]:{size}.1f}{seen[name] / seen['ours']:6.2f}x"
                for name, size in (("int4pack", 10), ("bf16", 8))
            )
            print(f"{columns}x{width:<6}{rows:4}{floor:8.1f}{seen['ours']:8.1f}{cells}{error:10.1e}", flush=True)


if __name__ == "__main__":
    main()
