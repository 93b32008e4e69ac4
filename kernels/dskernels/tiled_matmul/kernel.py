"""The ladder's kernels, written in CUDA C++, behind one function."""

import torch

from dskernels.cubin import Kernel
from dskernels.errors import KernelError
from dskernels.tensor_map import TensorMap
from dskernels.tiled_matmul.choice import CLUSTER, GROUP, LADDER, MMA, WGMMA, Rung, can_run, choose

TYPES = {torch.bfloat16: "bf16", torch.float32: "fp32"}
SOURCES = dict.fromkeys(LADDER, "tiled_matmul/kernel.cu") | {WGMMA: "tiled_matmul/wgmma.sm_90a.cu"}
KERNELS = {
    (rung, dtype): Kernel(SOURCES[rung], f"tiled_matmul_{rung.name}_{name}", shared=rung.shared)
    for rung in LADDER
    for dtype, name in TYPES.items()
}


def gemm(
    x: torch.Tensor,
    w: torch.Tensor,
    *,
    out: torch.Tensor | None = None,
    dtype: torch.dtype = torch.bfloat16,
    rung: Rung | None = None,
) -> torch.Tensor:
    """x (M, K) times w (N, K), transposed, both bf16 and contiguous, to (M, N) in bf16 or fp32. Raises KernelError.

    Sums are in fp32. K a multiple of 8 for the tensor cores; any other K takes the CUDA cores. out: where to write.
    """
    _check(x, w)
    (rows, width), columns = x.shape, w.shape[0]
    if out is None:
        out = torch.empty((rows, columns), dtype=dtype, device=x.device)
    if tuple(out.shape) != (rows, columns) or out.dtype not in TYPES or not out.is_contiguous():
        found = f"{tuple(out.shape)} {out.dtype}"
        raise KernelError(f"the product is {found}, wanted ({rows}, {columns}) bfloat16 or float32, contiguous")
    if out.numel():
        with torch.cuda.device(x.device):
            _launch(x, w, out, _get_rung(rung, x.device, width))
    return out


def _check(x: torch.Tensor, w: torch.Tensor) -> None:
    if x.dtype is not torch.bfloat16 or w.dtype is not torch.bfloat16:
        raise KernelError(f"the operands are {x.dtype} and {w.dtype}, wanted bfloat16")
    if x.dim() != 2 or w.dim() != 2 or x.shape[1] != w.shape[1] or not x.shape[1]:
        raise KernelError(f"{tuple(x.shape)} times {tuple(w.shape)}: wanted (M, K) and (N, K)")
    if not x.is_contiguous() or not w.is_contiguous() or x.device != w.device or not x.is_cuda:
        raise KernelError("the operands must be contiguous and on one GPU")
    if x.data_ptr() % 16 or w.data_ptr() % 16:
        raise KernelError("an operand does not begin at a multiple of 16 bytes; `.clone()` first")


def _get_rung(wanted: Rung | None, device: torch.device, width: int) -> Rung:
    capability = torch.cuda.get_device_capability(device)
    rung = wanted or choose(capability, width)
    if rung is None or not can_run(rung, capability, width):
        name = f"{torch.cuda.get_device_name(device)} (compute capability {capability[0]}.{capability[1]})"
        raise KernelError(f"no {rung.name if rung else 'bf16'} kernel for K = {width} on {name}")
    return rung


def _launch(x: torch.Tensor, w: torch.Tensor, out: torch.Tensor, rung: Rung) -> None:
    (rows, width), columns = x.shape, w.shape[0]
    down, across = -(-rows // rung.tile[0]), -(-columns // rung.tile[1])
    kernel, sizes = KERNELS[rung, out.dtype], (rows, columns, width)
    if rung is WGMMA:
        clusters = min(-(-down // CLUSTER) * across, _count_multiprocessors(x.device) // CLUSTER)
        maps = TensorMap(x, box=rung.tile[0]), TensorMap(w, box=rung.tile[1] // CLUSTER)
        kernel.launch((clusters * CLUSTER, 1, 1), rung.threads, (*maps, out, *sizes, GROUP))
    elif rung is MMA:
        kernel.launch((down * across, 1, 1), rung.threads, (x, w, out, *sizes, GROUP))
    else:
        kernel.launch((across, down, 1), rung.threads, (x, w, out, *sizes))


def _count_multiprocessors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
