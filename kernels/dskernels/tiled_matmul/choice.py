"""Which rung of the ladder a product takes, and in which order its tiles are computed. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rung:
    """One kernel. tile: (rows, columns) of the product that a block computes. threads: of a block.

    shared: bytes of memory a block wants. capability: the least it runs on, or the only one. step: K is a multiple.
    """

    name: str
    tile: tuple[int, int]
    threads: int
    capability: tuple[int, int]
    shared: int = 0
    step: int = 1
    is_only: bool = False


NAIVE = Rung("naive", (16, 16), 256, (8, 0))
TILED = Rung("tiled", (128, 128), 256, (8, 0))
MMA = Rung("mma", (128, 256), 256, (8, 0), shared=3 * 384 * 128, step=8)
WGMMA = Rung("wgmma", (128, 256), 384, (9, 0), shared=4 * 384 * 128 + 1024, step=8, is_only=True)
# best first
LADDER = (WGMMA, MMA, TILED, NAIVE)
# Rows of tiles that are computed side by side, so that what runs at one time shares what it reads in L2.
GROUP = 16
# Blocks of the wgmma rung that fetch the weight's tile for each other.
CLUSTER = 2


def choose(capability: tuple[int, int], width: int) -> Rung | None:
    """The best that runs on a GPU of this capability for this K; None when none does."""
    return next((rung for rung in LADDER if can_run(rung, capability, width)), None)


def can_run(rung: Rung, capability: tuple[int, int], width: int) -> bool:
    """Whether the GPU has its instructions and K fits it."""
    has_it = capability == rung.capability if rung.is_only else capability >= rung.capability
    return has_it and width % rung.step == 0
