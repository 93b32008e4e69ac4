"""Faults put into a burn-in on purpose, through its own seam: does it find them?"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from dskernels.burn_in.plan import Point, Tamper

SLEEP_CYCLES = 20_000_000  # about 12 ms of a GPU's clock
HANG_SECONDS = 10.0
ONE_FP8 = 0x38  # e4m3


@dataclass(frozen=True)
class Fault:
    """apply: does it to the tensor that `Point` describes. part: the one that must find it. is_once: or every time."""

    name: str
    point: Point
    part: str
    apply: Callable[[torch.Tensor], object]
    is_once: bool = True

    def make(self) -> Tamper:
        """What to give to `run`."""
        done = threading.Event()

        def tamper(point: Point, tensor: torch.Tensor) -> None:
            if point is self.point and not (self.is_once and done.is_set()):
                done.set()
                self.apply(tensor)

        return tamper


def flip_bit(tensor: torch.Tensor) -> None:
    """One of the lower 23 of one word, so that a float stays a number."""
    words = tensor.view(torch.int32).flatten()
    words[_choose(words)] ^= 1 << random.randrange(23)  # noqa: S311


def flip_lowest(tensor: torch.Tensor) -> None:
    """The lowest bit of one word."""
    words = tensor.view(torch.int32).flatten()
    words[_choose(words)] ^= 1


def alias(tensor: torch.Tensor) -> None:
    """A word goes to another one's address."""
    at = _choose(tensor)
    tensor[at] = tensor[(at + 4096) % tensor.numel()]


def add_one(tensor: torch.Tensor) -> None:
    """One value is one too large."""
    tensor.flatten()[_choose(tensor)] += 1


def poison(tensor: torch.Tensor) -> None:
    """One value is none."""
    tensor.flatten()[_choose(tensor)] = torch.nan


def change(tensor: torch.Tensor) -> None:
    """One operand has another sign, or is one where it was zero."""
    values, at = tensor.flatten(), _choose(tensor)
    values[at] = -values[at] if values[at] else 1


def change_fp8(tensor: torch.Tensor) -> None:
    """As `change`, where only bytes can be turned: one operand has another sign, or is one where it was zero."""
    values, at = tensor.view(torch.uint8).flatten(), _choose(tensor)
    values[at] = values[at] ^ 0x80 if values[at] & 0x7F else ONE_FP8


def zero_line(tensor: torch.Tensor) -> None:
    """A row of the product is missing."""
    tensor[random.randrange(tensor.shape[0])] = 0  # noqa: S311


def delay(tensor: torch.Tensor) -> None:
    """The device does something else."""
    if tensor.is_cuda:
        torch.cuda._sleep(SLEEP_CYCLES)
    else:
        time.sleep(0.02)


def fail(_: torch.Tensor) -> None:
    """The driver reports an error."""
    raise RuntimeError("CUDA error: uncorrectable ECC error encountered (injected)")


def hang(_: torch.Tensor) -> None:
    """The driver does not answer, and later with an error."""
    time.sleep(HANG_SECONDS)
    raise RuntimeError("CUDA error: the launch timed out (injected)")


def _choose(tensor: torch.Tensor) -> int:
    return random.randrange(tensor.numel())  # noqa: S311


FAULTS = (
    Fault("a flipped bit in memory", Point.FILLED, "memory", flip_bit),
    Fault("a flipped bit in the complement", Point.INVERTED, "memory", flip_bit),
    Fault("a word at another's address", Point.FILLED, "memory", alias),
    Fault("a word changed in a copy", Point.COPIED, "copy", flip_bit),
    Fault("a slow copy", Point.COPYING, "floors", delay, is_once=False),
    Fault("a wrong value of a triad", Point.ADDED, "triad", flip_lowest),
    Fault("a word changed on the way from the host", Point.SENT, "host", flip_bit),
    Fault("a word changed on the way to the host", Point.RECEIVED, "host", flip_bit),
    Fault("an operand that changed", Point.OPERANDS, "product", change),
    Fault("a product's value off by one", Point.PRODUCT, "product", add_one),
    Fault("a product's lowest bit", Point.PRODUCT, "product", flip_lowest),
    Fault("a product's value not a number", Point.PRODUCT, "product", poison),
    Fault("a product's row missing", Point.PRODUCT, "product", zero_line),
    Fault("slow products", Point.MULTIPLYING, "floors", delay, is_once=False),
    Fault("a repeated product that differs in a bit", Point.REPEATED, "repeat", flip_lowest),
    Fault("an operand in fp8 that changed", Point.FP8_OPERANDS, "fp8", change_fp8),
    Fault("a product's value in fp8 off by one", Point.FP8_PRODUCT, "fp8", add_one),
    Fault("slow products in fp8", Point.FP8_MULTIPLYING, "floors", delay, is_once=False),
    Fault("an error of the driver", Point.STARTED, "memory", fail),
    Fault("a driver that does not answer", Point.STARTED, "memory", hang),
)
REDUCE_FAULT = Fault("a wrong sum over all GPUs", Point.REDUCED, "all-reduce", add_one)
PEER_FAULT = Fault("a word changed on the way from a peer", Point.PEER, "peer", flip_bit)
