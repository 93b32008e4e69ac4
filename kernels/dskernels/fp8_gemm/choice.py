"""Which tile, split and pipeline a product takes. Pure; the figures behind it stand in README.md."""

from dataclasses import dataclass

GROUP = 128
# of an H100
MULTIPROCESSORS = 132
BLOCK_N = 64
# most rows of activations -> (rows of a tile, loads in flight)
TILES_M = ((16, (16, 6)), (32, (32, 6)), (64, (64, 4)), (128, (128, 4)))
# A part of K should be so many blocks of 128 long, unless there are too few parts to keep every multiprocessor busy.
LONG = 14


@dataclass(frozen=True)
class Choice:
    """block_n, block_m: the tile, in rows of weight and of activations. splits: parts of K. stages: loads in flight."""

    block_n: int
    block_m: int
    splits: int
    warps: int = 4
    stages: int = 4


@dataclass(frozen=True)
class Wgmma:
    """A kernel in CUDA C++ for sm_90. columns: rows of weight of a tile. splits: blocks that share the K of a tile.

    pair: blocks beside each other that share activations. stages: steps of 128 of K in flight.
    """

    columns: int
    splits: int
    pair: int
    stages: int

    @property
    def shared(self) -> int:
        """Bytes of memory that a block wants."""
        sums = BLOCK_M * self.columns * 4 if self.splits > 1 else 0
        return self.stages * (BLOCK_M + self.columns) * GROUP + sums + 1024


BLOCK_M = 128
FEW, MIDDLE, LONG_K, MANY = WGMMA = (Wgmma(64, 8, 1, 7), Wgmma(64, 2, 1, 7), Wgmma(128, 2, 1, 5), Wgmma(128, 1, 2, 6))
# Rows of tiles that are computed side by side, so that they share what they read in L2.
ROWS_BESIDE = 16
MOST = 1 << 62
# (rows of activations), (rows of weight), least K: where it was quicker than the kernel in Triton-lang. First fit.
BETTER = (
    ((33, 128), (1, 1024), 4096, FEW),
    ((65, 128), (1025, 4224), 4096, MIDDLE),
    ((33, 128), (4225, 8448), 8192, LONG_K),
    ((257, MOST), (1, MOST), 1536, MANY),
)


def choose_wgmma(rows: int, columns: int, width: int) -> Wgmma | None:
    """For (rows, width) x (columns, width) on sm_90; None where the kernel in Triton-lang is better."""
    for (low, high), (thin, wide), least, kernel in BETTER:
        if low <= rows <= high and thin <= columns <= wide and width >= least:
            return kernel
    return None


def choose(rows: int, columns: int, width: int) -> Choice:
    """For (rows, width) x (columns, width)."""
    block_m, stages = next((tile for most, tile in TILES_M if rows <= most), TILES_M[-1][1])
    tiles = -(-columns // BLOCK_N) * -(-rows // block_m)
    blocks = width // GROUP
    splits = max(round(MULTIPROCESSORS / tiles), min(round(2 * MULTIPROCESSORS / tiles), blocks // LONG), 1)
    return Choice(BLOCK_N, block_m, min(splits, blocks), stages=stages)
