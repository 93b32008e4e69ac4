"""What NCCL and UCX are told, each line with its reason. Pure.

Meanings: NCCL's user guide, Environment Variables (2.31); UCX's own help (`ucx_info -f`). The names that are exact
have a `=` in front there: without it `mlx5_1` is mlx5_10 too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dsops.core.topology.asked import Asked
from dsops.core.topology.gids import Gids
from dsops.core.topology.model import ETHERNET, Port

TOPOLOGY_FILE = "/etc/dsops/nccl-topology.xml"
LOCAL = "cuda_copy,cuda_ipc,sm,self"


@dataclass(frozen=True)
class Line:
    """One variable."""

    key: str
    value: str
    why: str


def make_lines(ports: Sequence[Port], *, front: tuple[str, str], gids: Gids, asked: Asked) -> tuple[Line, ...]:
    """front: interface and why. Without ports: everything by TCP, and said so."""
    name, why = front
    socket = Line("NCCL_SOCKET_IFNAME", f"={name}", f"{why}; `=`: this name exactly")
    if not ports:
        return (socket, *_make_without(name))
    return (socket, *_make_nccl(ports, gids, asked), *_make_ucx(ports, gids))


def _make_without(name: str) -> Iterable[Line]:
    yield Line("NCCL_IB_DISABLE", "1", "no RDMA port: TCP, without a search that ends there too")
    yield Line("UCX_TLS", f"tcp,{LOCAL}", "no RDMA port: TCP between servers, memory and NVLink within one")
    yield Line("UCX_NET_DEVICES", name, "TCP goes where NCCL's goes")


def _make_nccl(ports: Sequence[Port], gids: Gids, asked: Asked) -> Iterable[Line]:
    names = ",".join(port.name for port in ports)
    yield Line("NCCL_IB_DISABLE", "0", "RDMA is used")
    yield Line("NCCL_IB_HCA", f"={names}", "the ports for GPUs and no other; `=`: mlx5_1 is not mlx5_10")
    if ports[0].layer == ETHERNET:
        yield from _make_gid(gids)
    if any(port.device is None for port in ports):
        yield Line("NCCL_NET_GDR_LEVEL", "LOC", "soft-RoCE reads no GPU's memory: GPUDirect is never tried")
    if asked.rails:
        yield Line("NCCL_CROSS_NIC", "0", "rails: a card speaks only to those of its own rail")
    if asked.topology_file:
        yield Line("NCCL_TOPO_FILE", TOPOLOGY_FILE, "asked for (rdma_topology_file): the tree that NCCL sees is not it")


def _make_gid(gids: Gids) -> Iterable[Line]:
    if gids.index is None:
        found = ", ".join(f"{name} {gid.index}" for name, gid in gids.found.items())
        why = f"the cards have RoCE v2 at different indexes ({found}), one index cannot name them: NCCL 2.21 or newer"
        yield Line("NCCL_IB_ROCE_VERSION_NUM", "2", f"{why} looks by itself")
        return
    addresses = ", ".join(str(gid.address) for gid in gids.found.values())
    yield Line(
        "NCCL_IB_GID_INDEX", str(gids.index), f"RoCE v2 with the port's own address, on every card ({addresses})"
    )


def _make_ucx(ports: Sequence[Port], gids: Gids) -> Iterable[Line]:
    names = ",".join(port.name for port in ports)
    yield Line("UCX_NET_DEVICES", names, "the same ports as NCCL's")
    yield Line("UCX_TLS", f"rc,{LOCAL}", "no tcp: a port that is down is an error, not a twentieth of the speed")
    if ports[0].layer == ETHERNET and gids.index is not None:
        yield Line("UCX_IB_GID_INDEX", str(gids.index), "the same address as NCCL's")


def render_env(lines: Iterable[Line], *, head: str) -> str:
    """For systemd's EnvironmentFile: every line below its reason."""
    return head + "".join(f"# {line.why}\n{line.key}={line.value}\n" for line in lines)
