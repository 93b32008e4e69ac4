"""Which of a RoCE port's addresses is the one to use: version 2, IPv4, on the port's own interface. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from dsops.core.topology.model import ETHERNET, Gid, Port, Problem, Topology


@dataclass(frozen=True)
class Gids:
    """port's name -> its RoCE v2 address."""

    found: dict[str, Gid]
    problems: tuple[Problem, ...] = ()

    @property
    def index(self) -> int | None:
        """The index that all of them share; None when they do not, or there is none."""
        indexes = {gid.index for gid in self.found.values()}
        return indexes.pop() if len(indexes) == 1 else None


def find_gids(ports: Sequence[Port]) -> Gids:
    """Of every RoCE port that is up."""
    found: dict[str, Gid] = {}
    problems = []
    for port in ports:
        if port.layer != ETHERNET or not port.is_up:
            continue
        fitting = [gid for gid in port.gids if gid.version == 2 and gid.address]
        if len(fitting) == 1:
            found[port.name] = fitting[0]
        else:
            problems.append(_tell(port, fitting))
    return Gids(found, tuple(problems))


def _tell(port: Port, fitting: Sequence[Gid]) -> Problem:
    if not fitting:
        has = "only RoCE v1" if any(gid.address for gid in port.gids) else "no IPv4 address"
        netdevs = ", ".join(sorted(port.netdevs)) or "its interface"
        mend = f"give {netdevs} its address; RoCE v1 is not routed and NCCL asks for version 2"
        return Problem(port.name, f"has {has}, so no RoCE v2 address for NCCL_IB_GID_INDEX", mend)
    several = ", ".join(f"{gid.address} ({gid.netdev}, index {gid.index})" for gid in fitting)
    mend = "one address for each port; take the others away, or bring them to another interface"
    return Problem(port.name, f"has several RoCE v2 addresses and nothing says which: {several}", mend)


def find_subnet(port: Port, gids: Gids, seen: Topology) -> str:
    """`fe80:0000:0000:0000` on InfiniBand, `10.1.0.0/24` on RoCE; "" when nobody says."""
    if port.layer != ETHERNET:
        return port.gids[0].prefix if port.gids else ""
    gid = gids.found.get(port.name)
    return str(_find_network(gid, seen) or "") if gid else ""


def _find_network(gid: Gid, seen: Topology) -> IPv4Network | None:
    held = [one for interface in seen.interfaces for one in interface.addresses]
    return next((one.network for one in held if one.ip == gid.address), None)
