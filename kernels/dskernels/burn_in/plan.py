"""How much a burn-in does, and where a test may put a fault into it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import torch

MIB = 1 << 20


class Point(StrEnum):
    """Moments at which `tamper` is called; the tensor is what the part looks at next."""

    STARTED = "a part begins; the tensor is empty"
    FILLED = "a piece of memory has its pattern"
    INVERTED = "a piece of memory has the complement"
    COPYING = "inside the time of a copy on the device; the tensor is the target"
    COPIED = "a copy on the device is done"
    ADDED = "a triad is done"
    SENT = "bytes came from the host"
    RECEIVED = "bytes came to the host"
    OPERANDS = "the sums that the products must have are known; the tensor is the left operand"
    MULTIPLYING = "inside the time of a product"
    PRODUCT = "a product of whole numbers is done"
    REPEATED = "a product of random numbers was repeated"
    PEER = "a copy from another GPU is done"
    FP8_OPERANDS = "as OPERANDS, for products in fp8"
    FP8_MULTIPLYING = "inside the time of a product in fp8"
    FP8_PRODUCT = "a product in fp8 is done"
    REDUCED = "an all-reduce over all GPUs is done; the tensor is one GPU's sum"


Tamper = Callable[[Point, torch.Tensor], None]


def leave(point: Point, tensor: torch.Tensor) -> None:
    """Puts no fault anywhere."""


@dataclass(frozen=True)
class Plan:
    """Sizes in bytes or values, times in seconds. The defaults are for a GPU of 80 GB and take under 30 s.

    limit: when a GPU that has not answered is given up. spare: memory left to others. most: of memory to walk.
    side, depth: (side, depth) x (side, depth) is the product; both multiples of 8.
    batch: products between two looks. floors: figure -> least value. fp8_depth: as depth, for products in fp8.
    pause: between rounds of copies from and to the host. reduce: bytes that each GPU brings to an all-reduce.
    """

    walk_seconds: float = 4.0
    multiply_seconds: float = 10.0
    limit: float = 60.0
    spare: int = 512 * MIB
    most: int = 1 << 50
    piece: int = 2048 * MIB
    copies: tuple[int, ...] = (256 * MIB, 1024 * MIB, 4096 * MIB)
    host: int = 256 * MIB
    pause: float = 0.3
    peer: int = 1024 * MIB
    reduce: int = 1024 * MIB
    repeats: int = 10
    side: int = 8192
    depth: int = 32768
    fp8_depth: int = 8192
    fp8_seconds: float = 2.0
    batch: int = 20
    seed: int = 0x5EED
    floors: Mapping[str, float] = field(default_factory=dict)
