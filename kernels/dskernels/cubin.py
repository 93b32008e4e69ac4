"""Kernels written in CUDA C++: built once by nvcc, kept by the hash of their source, loaded by the driver.

A node without a compiler gets them prebuilt: `python -m dskernels.cubin FOLDER` on a machine that has nvcc, and
`DSKERNELS_CUBINS=FOLDER` where they are used.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from dskernels.errors import KernelError

HERE = Path(__file__).parent
SECONDS = 300
Number = int | torch.Tensor


class Kernel:
    """One function of a source file. source: below this folder, such as `w4a16_gemm/kernel.cu`."""

    def __init__(self, source: str, name: str) -> None:
        self.source, self.name = HERE / source, name

    def launch(self, grid: tuple[int, int, int], block: int, arguments: Sequence[Number]) -> None:
        """On the current stream. arguments: tensors (their addresses) and ints (32 bits). Raises KernelError."""
        major, minor = torch.cuda.get_device_capability()
        function = _get_function(self.source, self.name, f"sm_{major}{minor}", torch.cuda.current_device())
        values = [_pack(one) for one in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        _check(_driver().cuLaunchKernel(function, *grid, block, 1, 1, 0, stream, pointers, None), f"start {self.name}")


def _pack(one: Number) -> ctypes.c_void_p | ctypes.c_int:
    return ctypes.c_void_p(one.data_ptr()) if isinstance(one, torch.Tensor) else ctypes.c_int(one)


@cache
def _get_function(source: Path, name: str, target: str, device: int) -> ctypes.c_void_p:
    """Of the current device's context, which torch made."""
    torch.zeros(1, device=f"cuda:{device}")
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    image = get_cubin(source, target=target)
    _check(_driver().cuModuleLoadData(ctypes.byref(module), image), f"load {source.name}")
    _check(_driver().cuModuleGetFunction(ctypes.byref(function), module, name.encode()), f"find {name}")
    return function


def get_cubin(source: Path, *, target: str) -> bytes:
    """Prebuilt, built earlier, or built now. Raises KernelError."""
    name = _name_cubin(source, target=target)
    folders = [Path(folder) for folder in (os.environ.get("DSKERNELS_CUBINS"),) if folder]
    folders.append(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dskernels")
    for folder in folders:
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    build(source, target=target, folder=folders[-1])
    return (folders[-1] / name).read_bytes()


def build(source: Path, *, target: str, folder: Path) -> Path:
    """Compiles into the folder; whole or not at all. Raises KernelError with the compiler's words."""
    compiler = shutil.which("nvcc")
    if compiler is None:
        what = f"{source.name} is not built for {target} and there is no nvcc here"
        raise KernelError(f"{what}; build it elsewhere (`python -m dskernels.cubin FOLDER`) and set DSKERNELS_CUBINS")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _name_cubin(source, target=target)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        new = Path(scratch) / path.name
        argv = [compiler, "-cubin", f"-arch={target}", "-O3", "-std=c++17", "-o", str(new), str(source)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode:
            raise KernelError(f"nvcc refuses {source.name}: {done.stderr.strip()[-2000:]}")
        new.rename(path)
    return path


def _name_cubin(source: Path, *, target: str) -> str:
    return f"{source.parent.name}-{target}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.cubin"


@cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _check(code: int, what: str) -> None:
    if code:
        words = ctypes.c_char_p()
        _driver().cuGetErrorString(code, ctypes.byref(words))
        raise KernelError(f"the driver cannot {what}: {(words.value or b'').decode()} ({code})")


def main() -> None:
    """Builds all of them for the targets of `DSKERNELS_TARGETS` (default sm_80 sm_90) into the folder."""
    folder = Path(sys.argv[1])
    for target in os.environ.get("DSKERNELS_TARGETS", "sm_80 sm_90").split():
        for source in sorted(HERE.glob("*/*.cu")):
            print(build(source, target=target, folder=folder))


if __name__ == "__main__":
    main()
