"""How many rows of the weight a block takes, and into how many parts K is split over blocks. Pure."""

from dataclasses import dataclass

GROUP = 128
STRIP = 16
# of an H100
MULTIPROCESSORS = 132
# A block has eight warps, which split K already.
WARPS = 8


@dataclass(frozen=True)
class Choice:
    """strips: of 16 rows of the weight a block takes, 1, 2 or 4. splits: parts of K over blocks."""

    strips: int
    splits: int = 1


def choose(rows: int, width: int, tokens: int) -> Choice:
    """For a weight of (rows, width): the largest block that leaves hardly a multiprocessor idle.

    tokens: rows of activations. With up to 8 of them two blocks of 32 rows beside each other are better than one of 64.
    """
    for strips in (4, 2, 1) if tokens > 8 else (2, 1):
        blocks = -(-rows // (STRIP * strips))
        if blocks >= MULTIPROCESSORS * 3 // 4:
            return Choice(strips)
    return Choice(1, max(1, min(width // GROUP // WARPS, MULTIPROCESSORS // blocks)))
