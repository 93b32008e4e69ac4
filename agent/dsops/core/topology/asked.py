"""What the inventory says about a server's networks, checked. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dsops.core.errors import DsopsError

NONE, AUTO, SOFT = "none", "auto", "soft"
TRANSPORTS = (NONE, AUTO, "infiniband", "roce", SOFT)
PAIR = re.compile(r"(\d+)=([\w-]+(?:,[\w-]+)*)")


@dataclass(frozen=True)
class Asked:
    """transport: `none` where nobody asked for RDMA; what is there is taken all the same, and nothing is no problem.

    compute, aside: names of RDMA devices that are for GPUs, and that are for something else.

    by_hand: GPU's index -> devices, the map that somebody made. rails: every card has a subnet of its own, on purpose.
    far: a card beyond the link between processors, or beside nobody's switch, is accepted. address: where the other
    servers reach this one, by the inventory's word. reached: where we do, which may be a translated address.
    topology_file: NCCL is to read our file instead of looking by itself.
    """

    transport: str = NONE
    compute: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    by_hand: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    rails: bool = False
    far: bool = False
    address: str = ""
    reached: str = ""
    topology_file: bool = False


def parse_map(texts: Sequence[str], *, where: str) -> dict[int, tuple[str, ...]]:
    """Texts such as `0=mlx5_0` or `3=mlx5_4,mlx5_5`. Raises DsopsError."""
    found: dict[int, tuple[str, ...]] = {}
    for text in texts:
        match = PAIR.fullmatch(text.strip())
        if not match or int(match[1]) in found:
            what = f"{text!r} names a GPU twice" if match else f"{text!r} is no pair of GPU and card"
            raise DsopsError(what, where=where, mend='write it like "0=mlx5_0", each GPU once')
        found[int(match[1])] = tuple(match[2].split(","))
    return found
