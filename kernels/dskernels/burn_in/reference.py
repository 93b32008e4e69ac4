"""A burn-in's work in plain PyTorch, on any device: what the kernels are measured against, and tests without a GPU."""

import time

import torch

from dskernels.burn_in.machine import Pattern

WORDS_OF_MIB = 1 << 18
ALL = 0xFFFFFFFF


def expect(words: int, *, first: int, pattern: Pattern, device: torch.device) -> torch.Tensor:
    """So many words of the pattern as int32. first: in MiB."""
    at = torch.arange(words, dtype=torch.int64, device=device) + first * WORDS_OF_MIB
    value = _multiply(at & ALL, 0x9E3779B1) ^ _multiply(at >> 32, 0x85EBCA77) ^ pattern.seed
    value = _multiply(value ^ value >> 15, 0x2C1B3C6D)
    return to_int32(value ^ value >> 13 ^ (pattern.mask & ALL))


def _multiply(values: torch.Tensor, factor: int) -> torch.Tensor:
    """Modulo 2^32, without leaving 63 bits: by halves of the factor."""
    return (values * (factor & 0xFFFF) + ((values * (factor >> 16) & 0xFFFF) << 16)) & ALL


def to_int32(values: torch.Tensor) -> torch.Tensor:
    """The low 32 bits of int64."""
    low = values & ALL
    return torch.where(low > ALL >> 1, low - (1 << 32), low).int()


class Plain:
    """A Machine in plain PyTorch. free: bytes it says it has."""

    def __init__(self, device: torch.device, *, free: int = 64 << 20) -> None:
        self.device, self.name, self.free = device, f"plain PyTorch on {device}", free

    def get_free(self) -> int:
        return self.free

    def mark(self) -> object:
        return time.perf_counter()

    def count_seconds(self, begin: object, end: object) -> float:
        assert isinstance(begin, float)
        assert isinstance(end, float)
        return max(end - begin, 1e-9)

    def fill(self, words: torch.Tensor, *, first: int, pattern: Pattern) -> None:
        words.copy_(expect(words.numel(), first=first, pattern=pattern, device=words.device))

    def check(self, words: torch.Tensor, *, first: int, pattern: Pattern, found: torch.Tensor) -> None:
        bits = words ^ expect(words.numel(), first=first, pattern=pattern, device=words.device)
        for place in bits.nonzero().flatten().tolist():
            found[0] += 1
            found[1] = min(int(found[1]), first * WORDS_OF_MIB + place)
            found[2] |= int(bits[place]) & ALL

    def multiply(self, x: torch.Tensor, w: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_(x.float() @ w.float().t())

    def find_fp8_lack(self) -> str:
        return ""

    def multiply_fp8(self, x: torch.Tensor, w: torch.Tensor, out: torch.Tensor) -> None:
        self.multiply(x, w, out)

    def add_up(self, product: torch.Tensor, of_rows: torch.Tensor, of_columns: torch.Tensor) -> None:
        is_whole = product == product.round()
        whole = torch.where(is_whole, product.double().clamp(-(2**31), 2**31 - 1), 0x5A5A5A5A).long()
        of_rows.copy_(to_int32(of_rows + whole.sum(1)))
        of_columns.copy_(to_int32(of_columns + whole.sum(0)))
