"""Which RDMA ports are for the GPUs, and why the others are not. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dsops.core.topology.asked import NONE, SOFT, Asked
from dsops.core.topology.distance import find_best
from dsops.core.topology.model import ETHERNET, INFINIBAND, Port, Problem, Topology

LAYERS = {"infiniband": INFINIBAND, "roce": ETHERNET}


@dataclass(frozen=True)
class Aside:
    """A port that no GPU uses, and why."""

    port: Port
    why: str


@dataclass(frozen=True)
class Choice:
    """The ports for the GPUs, in PCI's order."""

    ports: tuple[Port, ...]
    asides: tuple[Aside, ...]
    problems: tuple[Problem, ...] = ()


def choose_ports(seen: Topology, asked: Asked) -> Choice:
    """Those that the inventory names; else those below a GPU's own switch; else all that are not for the front."""
    if problems := _check_names(seen, asked):
        return Choice((), (), problems)
    kept, asides = [], []
    for port in sorted(seen.ports, key=_by_address):
        why = _find_reason(port, seen, asked)
        kept += [] if why else [port]
        asides += [Aside(port, why)] if why else []
    if not asked.compute:
        kept, more = _leave_out(kept, seen)
        asides += more
    problems = _check_mistaken(kept, asides, seen) if asked.compute else ()
    return Choice(tuple(kept), tuple(asides), problems)


def _by_address(port: Port) -> tuple[str, str, int]:
    return (port.device.address if port.device else "~", port.hca, port.number)


def _find_reason(port: Port, seen: Topology, asked: Asked) -> str:
    """Why it is left out whatever lies around it; "" when it is not."""
    layer = LAYERS.get(asked.transport, port.layer)
    if port.hca in asked.aside:
        return "the inventory says that it is for something else"
    if asked.compute and port.hca not in asked.compute:
        return "the inventory names others"
    if port.device is None and not port.parent:
        return "its function is not among PCI's cards: a slice of one (SR-IOV)"
    if port.device is None and asked.transport != SOFT:
        return "soft-RoCE, and nobody asked for that"
    if port.device is not None and asked.transport == SOFT:
        return "soft-RoCE was asked for"
    if port.layer != layer:
        return f"{port.layer}, and {asked.transport} was asked for"
    return "" if port.is_up or not _has_live_sister(port, seen) else "down, and the card's other port is up"


def _has_live_sister(port: Port, seen: Topology) -> bool:
    card = port.device.card if port.device else ""
    return any(other.is_up for other in seen.ports if other.device and other.device.card == card and other != port)


def _leave_out(kept: Sequence[Port], seen: Topology) -> tuple[list[Port], list[Aside]]:
    """Of those that nobody named: what is near no GPU where others are, and what the default route uses."""
    near = [port for port in kept if seen.gpus and find_best(seen.gpus, port).is_near]
    why = "no GPU is below its PCIe switch, and others have one: for storage, or the front"
    asides = [Aside(port, why) for port in kept if port not in near] if near else []
    left = near or list(kept)
    front = [port for port in left if port.device and seen.route and _is_front(port, seen)]
    if len(front) == len(left):
        return left, asides
    why = f"the default route goes through it ({seen.route})"
    return [port for port in left if port not in front], [*asides, *(Aside(port, why) for port in front)]


def _is_front(port: Port, seen: Topology) -> bool:
    names = set(port.netdevs)
    interface = seen.find_interface(seen.route)
    slaves = interface.slaves if interface else ()
    return bool(names & {seen.route, *slaves})


def _check_names(seen: Topology, asked: Asked) -> tuple[Problem, ...]:
    """Names that no device has, and names that are said to be both."""
    known = {port.hca for port in seen.ports}
    said = [*asked.compute, *asked.aside, *(name for names in asked.by_hand.values() for name in names)]
    strangers = sorted(set(said) - known)
    both = sorted(set(asked.compute) & set(asked.aside))
    mend = f"its RDMA devices are {', '.join(sorted(known)) or 'none'}: mend rdma_compute, rdma_aside or rdma_map"
    found = [Problem(seen.node, f"has no RDMA device {name}", mend) for name in strangers]
    mend = "name it in one of them"
    return (*found, *(Problem(seen.node, f"{name} is in rdma_compute and in rdma_aside", mend) for name in both))


def _check_mistaken(kept: Iterable[Port], asides: Iterable[Aside], seen: Topology) -> tuple[Problem, ...]:
    """Cards named for GPUs that are below no GPU's switch, while others are and stay idle."""
    idle = [one.port for one in asides if one.port.is_up and find_best(seen.gpus, one.port).is_near]
    far = [port for port in kept if port.device and not find_best(seen.gpus, port).is_near]
    if not idle or not seen.gpus:
        return ()
    better = ", ".join(port.hca for port in idle)
    return tuple(
        Problem(
            port.name,
            f"is named for GPUs and below no GPU's switch ({find_best(seen.gpus, port).name} at best): a card for"
            f" storage or the front. {better} is below one, and would idle",
            f"take {port.hca} out of rdma_compute, or leave rdma_compute empty: near cards are found by themselves",
        )
        for port in far
    )


def is_wanted(asked: Asked) -> bool:
    """Whether the inventory says that there must be RDMA: silence about it is then a problem."""
    return asked.transport != NONE or bool(asked.compute or asked.by_hand)
