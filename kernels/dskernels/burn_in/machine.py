"""What a burn-in asks of a device; kernel.py answers for a GPU, reference.py in plain PyTorch for any device."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch

NOWHERE = (1 << 63) - 1


@dataclass(frozen=True)
class Pattern:
    """Which values memory gets. seed: 31 bits."""

    seed: int
    is_inverted: bool = False

    @property
    def mask(self) -> int:
        """What the values are xored with, as a signed number of 32 bits."""
        return -1 if self.is_inverted else 0


class Machine(Protocol):
    """One device. Words are 32 bits, in int32 tensors of whole MiB; `first` is their place in the pattern, in MiB."""

    device: torch.device
    name: str

    def get_free(self) -> int:
        """Bytes that nobody uses."""

    def mark(self) -> object:
        """A moment in the device's work."""

    def count_seconds(self, begin: object, end: object) -> float:
        """Between two moments; waits for the second."""

    def fill(self, words: torch.Tensor, *, first: int, pattern: Pattern) -> None:
        """Writes the pattern."""

    def check(self, words: torch.Tensor, *, first: int, pattern: Pattern, found: torch.Tensor) -> None:
        """Adds to found, int64: how many words are wrong, the first one's place in the pattern, their wrong bits."""

    def multiply(self, x: torch.Tensor, w: torch.Tensor, out: torch.Tensor) -> None:
        """x (M, K) bf16 times w (N, K), transposed, into out (M, N) fp32 or bf16."""

    def find_fp8_lack(self) -> str:
        """Why it has no fp8; "" when it has."""

    def multiply_fp8(self, x: torch.Tensor, w: torch.Tensor, out: torch.Tensor) -> None:
        """x (M, K) e4m3 times w (N, K), transposed, into out (M, N) fp32."""

    def add_up(self, product: torch.Tensor, of_rows: torch.Tensor, of_columns: torch.Tensor) -> None:
        """Adds the sums of (M, N) fp32, N a multiple of 4, to int32, modulo 2^32; values are whole if sound."""


def hold(device: torch.device) -> AbstractContextManager[object]:
    """Kernels started inside run on this device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def make_found(device: torch.device) -> torch.Tensor:
    """For `check`: nothing is wrong yet."""
    return torch.tensor([0, NOWHERE, 0], dtype=torch.int64, device=device)


def describe(found: torch.Tensor) -> str | None:
    """In words, None when nothing is wrong."""
    wrong, first, bits = (int(one) for one in found.tolist())
    if not wrong:
        return None
    return (
        f"{wrong} words of 32 bits are wrong, the first at byte {first * 4} of what was walked, in the bits {bits:08x}"
    )
