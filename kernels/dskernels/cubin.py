"""Kernels written in CUDA C++, built by build.py, loaded and started by the driver."""

import ctypes
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

import torch

from dskernels.build import HERE, can_get, find_target, get_cubin
from dskernels.driver import check_code, get_driver
from dskernels.tensor_map import TensorMap

# CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
MOST_SHARED = 8
Argument: TypeAlias = int | torch.Tensor | TensorMap


class Kernel:
    """One function of a source file. source: below this folder, such as `w4a16_gemm/kernel.cu`.

    shared: bytes of memory that a block wants beyond what its source declares.
    """

    def __init__(self, source: str, name: str, *, shared: int = 0) -> None:
        self.source, self.name, self.shared = HERE / source, name, shared

    def is_there(self) -> bool:
        """Whether the current device's kernel is built, or can be."""
        return can_get(self.source, target=self._get_target())

    def launch(self, grid: tuple[int, int, int], block: int, arguments: Sequence[Argument]) -> None:
        """On the current stream. arguments: tensors (addresses), ints (32 bits), tensor maps. Raises KernelError."""
        function = _get_function(self.source, self.name, self._get_target(), torch.cuda.current_device(), self.shared)
        values = [_pack(one) for one in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        check_code(
            get_driver().cuLaunchKernel(function, *grid, block, 1, 1, self.shared, stream, pointers, None),
            f"start {self.name}",
        )

    def _get_target(self) -> str:
        major, minor = torch.cuda.get_device_capability()
        return find_target(self.source) or f"sm_{major}{minor}"


def _pack(one: Argument) -> ctypes.c_void_p | ctypes.c_int | ctypes.Array[ctypes.c_uint8]:
    if isinstance(one, TensorMap):
        return one.content
    return ctypes.c_void_p(one.data_ptr()) if isinstance(one, torch.Tensor) else ctypes.c_int(one)


@cache
def _get_function(source: Path, name: str, target: str, device: int, shared: int) -> ctypes.c_void_p:
    """Of the current device's context, which torch made."""
    torch.zeros(1, device=f"cuda:{device}")
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    image = get_cubin(source, target=target)
    check_code(get_driver().cuModuleLoadData(ctypes.byref(module), image), f"load {source.name}")
    check_code(get_driver().cuModuleGetFunction(ctypes.byref(function), module, name.encode()), f"find {name}")
    check_code(
        get_driver().cuFuncSetAttribute(function, MOST_SHARED, shared), f"give {name} {shared} bytes of shared memory"
    )
    return function
