"""Asks the other nodes of the pool how they are; only when this node itself is in doubt."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from dsops.core.blame import Peer, find_peer
from dsops.core.errors import DsopsError
from dsops.core.status import NodeStatus
from dsops.node.sources.config import parse_listen
from dsops.node.sources.http import Target, get


@dataclass(frozen=True)
class PeerAddress:
    """A node of the same pool. address: host:port of its agent."""

    name: str
    address: str


async def read_peers(addresses: Sequence[PeerAddress], *, timeout: float) -> tuple[Peer, ...]:
    """Those that answer in time, all asked at once."""
    found = await asyncio.gather(*(_read(one, timeout=timeout) for one in addresses))
    return tuple(peer for peer in found if peer)


async def _read(one: PeerAddress, *, timeout: float) -> Peer | None:
    host, port = parse_listen(one.address, where=one.name)
    answer = await get(Target("/v1/status", host=host, port=port), timeout=timeout)
    if not answer.is_ok:
        return None
    try:
        return find_peer(NodeStatus.from_json(answer.body, where=one.address))
    except DsopsError:
        return None  # another version of dsops, while it is being deployed
