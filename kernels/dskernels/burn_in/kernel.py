"""A burn-in's work on a GPU, by kernels in CUDA C++ (kernel.cu) and tiled_matmul."""

import torch

from dskernels.burn_in.machine import Pattern, hold
from dskernels.cubin import Kernel
from dskernels.errors import KernelError
from dskernels.tiled_matmul import kernel as tiled_matmul
from dskernels.tiled_matmul.choice import choose
from dskernels.tiled_matmul.kernel import KERNELS

SOURCE = "burn_in/kernel.cu"
FILL, CHECK, SUM = (Kernel(SOURCE, f"burn_in_{name}") for name in ("fill", "check", "sum"))
THREADS, ROWS = 256, 64
BLOCKS = 16  # for each multiprocessor
MULTIPLE = 8  # of what `Plan.depth` is
OLDEST, OLDEST_FP8 = (8, 0), (8, 9)


class Gpu:
    """A Machine: a GPU of compute capability 8.0 or newer. Raises KernelError for others."""

    def __init__(self, index: int) -> None:
        self.device = torch.device("cuda", index)
        properties = torch.cuda.get_device_properties(index)
        self.name = properties.name
        if (properties.major, properties.minor) < OLDEST:
            raise KernelError(f"{self.name} has no bf16; burn_in wants compute capability 8.0 or newer")
        self.blocks = BLOCKS * properties.multi_processor_count
        self.capability = (properties.major, properties.minor)
        self.one = torch.ones((), device=self.device)

    def check_built(self) -> None:
        """Raises KernelError when a kernel that this GPU needs is neither built nor can be."""
        with hold(self.device):
            rung = choose(self.capability, MULTIPLE)
            product = [KERNELS[(rung, torch.float32)]] if rung else []
            for kernel in (FILL, CHECK, SUM, *product):
                if not kernel.is_there():
                    what = f"{kernel.source.name} is not built for {self.name}, and there is no nvcc here"
                    raise KernelError(f"{what}; `python -m dskernels.build FOLDER` elsewhere, DSKERNELS_CUBINS=FOLDER")

    def get_free(self) -> int:
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self.device)[0]

    def mark(self) -> object:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def count_seconds(self, begin: object, end: object) -> float:
        assert isinstance(begin, torch.cuda.Event)
        assert isinstance(end, torch.cuda.Event)
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    def fill(self, words: torch.Tensor, *, first: int, pattern: Pattern) -> None:
        arguments = (words, words.numel() // 4, first, pattern.seed, pattern.mask)
        FILL.launch((self.blocks, 1, 1), THREADS, arguments)

    def check(self, words: torch.Tensor, *, first: int, pattern: Pattern, found: torch.Tensor) -> None:
        arguments = (words, words.numel() // 4, first, pattern.seed, pattern.mask, found)
        CHECK.launch((self.blocks, 1, 1), THREADS, arguments)

    def multiply(self, x: torch.Tensor, w: torch.Tensor, out: torch.Tensor) -> None:
        tiled_matmul.gemm(x, w, out=out)

    def find_fp8_lack(self) -> str:
        return "" if self.capability >= OLDEST_FP8 else f"{self.name} has no fp8"

    def multiply_fp8(self, x: torch.Tensor, w: torch.Tensor, out: torch.Tensor) -> None:
        torch._scaled_mm(
            x, w.t(), scale_a=self.one, scale_b=self.one, out_dtype=torch.float32, use_fast_accum=False, out=out
        )

    def add_up(self, product: torch.Tensor, of_rows: torch.Tensor, of_columns: torch.Tensor) -> None:
        rows, columns = product.shape
        grid = (-(-columns // (4 * THREADS)), -(-rows // ROWS), 1)
        SUM.launch(grid, THREADS, (product, of_rows, of_columns, rows, columns))
