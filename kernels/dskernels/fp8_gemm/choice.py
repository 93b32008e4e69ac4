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


def choose(rows: int, columns: int, width: int) -> Choice:
    """For (rows, width) x (columns, width)."""
    block_m, stages = next((tile for most, tile in TILES_M if rows <= most), TILES_M[-1][1])
    tiles = -(-columns // BLOCK_N) * -(-rows // block_m)
    blocks = width // GROUP
    splits = max(round(MULTIPROCESSORS / tiles), min(round(2 * MULTIPROCESSORS / tiles), blocks // LONG), 1)
    return Choice(BLOCK_N, block_m, min(splits, blocks), stages=stages)
