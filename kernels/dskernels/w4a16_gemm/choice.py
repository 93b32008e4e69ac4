"""Which kernel a product takes, how many rows of the weight a block, and into how many parts K is split. Pure."""

from dataclasses import dataclass

GROUP = 128
STRIP = 16
# of an H100
MULTIPROCESSORS = 132
# A block of kernel.cu has eight warps, which split K already.
WARPS = 8


@dataclass(frozen=True)
class Choice:
    """kernel.cu. strips: of 16 rows of the weight a block takes, 1, 2 or 4. splits: parts of K over blocks."""

    strips: int
    splits: int = 1


@dataclass(frozen=True)
class Bulk:
    """bulk.sm_90a.cu, for one row of activations. strips: of 16 rows, of a tile. slots: units in flight a warp.

    warps: at most, of a block. blocks: beside each other on a multiprocessor.
    """

    strips: int
    slots: int
    warps: int
    blocks: int

    def count_warps(self, groups: int) -> int:
        """As few as have their parts of K done as soon; never more than there are groups."""
        return -(-groups // -(-groups // self.warps))

    def count_blocks(self, rows: int) -> int:
        """Of a weight with so many rows: one a tile, and no more than find room at once."""
        return min(-(-rows // (STRIP * self.strips)), MULTIPROCESSORS * self.blocks)


# least rows of the weight -> kernel; as measured, see README.md
BULKS = FEW, SOME, MANY = Bulk(1, 2, 12, 1), Bulk(2, 3, 8, 1), Bulk(2, 1, 8, 2)
LEAST = ((132 * 32 + 1, MANY), (99 * 32 + 1, SOME), (1, FEW))
# Bytes of shared memory of a block: two find room on a multiprocessor. MOST_WIDTH leaves room for x beside the rings.
SHARED = 112 << 10
MOST_WIDTH = 24576


def choose_bulk(rows: int, width: int, tokens: int) -> Bulk | None:
    """For a weight of (rows, width) on sm_90; None where kernel.cu is better (it reads x once a tile, not once)."""
    if tokens != 1 or width > MOST_WIDTH:
        return None
    return next(kernel for least, kernel in LEAST if rows >= least)


def choose(rows: int, width: int, tokens: int) -> Choice:
    """For a weight of (rows, width): the largest block that leaves hardly a multiprocessor idle.

    tokens: rows of activations. With up to 8 of them two blocks of 32 rows beside each other are better than one of 64.
    """
    for strips in (4, 2, 1) if tokens > 8 else (2, 1):
        blocks = -(-rows // (STRIP * strips))
        if blocks >= MULTIPROCESSORS * 3 // 4:
            return Choice(strips)
    return Choice(1, max(1, min(width // GROUP // WARPS, MULTIPROCESSORS // blocks)))
