"""Why a map is refused: ports, their subnets, and how they sit beside the GPUs. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from dsops.core.topology.asked import Asked
from dsops.core.topology.choose import Choice
from dsops.core.topology.cost import PATHS
from dsops.core.topology.distance import find_level
from dsops.core.topology.gids import Gids, find_subnet
from dsops.core.topology.model import INFINIBAND, Level, Port, Problem, Topology
from dsops.core.topology.pair import Pair

NO_GUID = "0000:0000:0000:0000"


def check_ports(ports: Sequence[Port]) -> list[Problem]:
    """Each is up, none is there twice, all speak the same and are equally fast."""
    found = [_tell_down(port) for port in ports if not port.is_up]
    found += _check_guids(ports)
    up = [port for port in ports if port.is_up]
    kinds = _group(up, lambda port: port.layer)
    if len(kinds) > 1:
        mend = "name the ones for GPUs in rdma_compute, or set rdma to infiniband or roce: NCCL takes one kind only"
        return [*found, Problem(_names(up), f"two kinds of network in one map: {_tell_groups(kinds)}", mend)]
    rates = _group(up, lambda port: f"{port.rate:g} Gb/s")
    if len(rates) > 1:
        what = f"differ in rate: {_tell_groups(rates)}; the slowest sets the pace of all"
        mend = "look at the slower ones' cables and switch ports; a card for storage: name it in rdma_aside"
        found.append(Problem(_names(up), what, mend))
    return found


def _tell_down(port: Port) -> Problem:
    more = "; on InfiniBand a subnet manager must run" if port.layer == INFINIBAND else ""
    mend = f"look at its cable and the switch's port (`ibstat {port.hca}`){more}; if it is not meant for GPUs:"
    return Problem(port.name, f"is {port.state or 'of unknown state'}, not ACTIVE", f"{mend} rdma_aside")


def _check_guids(ports: Sequence[Port]) -> list[Problem]:
    owners: dict[str, set[str]] = defaultdict(set)
    for port in ports:
        owners[port.guid].add(port.hca)
    return [
        Problem(", ".join(sorted(names)), f"have one GUID ({guid}): a fabric cannot tell them apart", MEND_GUID)
        for guid, names in owners.items()
        if len(names) > 1 and guid not in ("", NO_GUID)
    ]


MEND_GUID = "one was flashed with the other's firmware image: give each card its own, as its maker says"


def check_subnets(ports: Sequence[Port], seen: Topology, asked: Asked, gids: Gids) -> list[Problem]:
    """All in one subnet; with rails every card in one of its own."""
    up = [port for port in ports if port.is_up]
    groups = _group(up, lambda port: find_subnet(port, gids, seen) or "unknown")
    if asked.rails:
        shared = {subnet: names for subnet, names in groups.items() if len(names) > 1}
        mend = "give each card the address of its own rail, or take rdma_rails away"
        what = "rails were asked for, and several cards are in one subnet"
        return [Problem(_names(up), f"{what}: {_tell_groups(shared)}", mend)] if shared else []
    if len(groups) < 2:
        return []
    mend = "a cable in the wrong switch: move it; a card for storage: rdma_aside; a subnet for each card on purpose:"
    return [Problem(_names(up), f"subnets are mixed: {_tell_groups(groups)}", f"{mend} rdma_rails = True")]


def check_bonds(ports: Sequence[Port], seen: Topology) -> list[Problem]:
    """A bond over two cards carries no RDMA as one; one over the ports of one card does, when both are up."""
    found = []
    for port in ports:
        for name in sorted(port.netdevs):
            interface = seen.find_interface(name)
            slaves = [one for slave in (interface.slaves if interface else ()) if (one := seen.find_interface(slave))]
            cards = {slave.device.rpartition(".")[0] for slave in slaves}
            down = [slave.name for slave in slaves if slave.state != "up"]
            if len(cards) > 1:
                what = f"{name} is a bond over {len(cards)} cards: RDMA is bonded within one card only"
                found.append(Problem(port.name, what, "bond the two ports of one card, or no bond and an address each"))
            elif down:
                what = f"{name} runs on {len(slaves) - len(down)} of {len(slaves)} cables ({', '.join(down)} is down)"
                found.append(Problem(port.name, what, f"look at its cable; `cat /proc/net/bonding/{name}`"))
    return found


def check_pairs(pairs: Sequence[Pair], choice: Choice, asked: Asked) -> list[Problem]:
    """Every GPU is served alike, and from its own NUMA node."""
    best = min((pair.level for pair in pairs), default=Level.SYS)
    worse = [pair for pair in pairs if not pair.level.is_near and best.is_near]
    far = [pair for pair in pairs if pair.level is Level.SYS and pair not in worse and pair.ports[0].device]
    found = []
    if not asked.far:
        mend = "put a card beside these GPUs, or accept it for good: rdma_far = True"
        found = [_tell_uneven(pair, best, choice) for pair in worse]
        found += [Problem(pair.gpu.label, _tell_far(pair), mend) for pair in far]
    used = {port for pair in pairs for port in pair.ports}
    idle = [port for port in choice.ports if pairs and port not in used]
    mend = "a card in the wrong slot: move it below a GPU's switch; not meant for GPUs: rdma_aside"
    return found + [Problem(port.name, "is nobody's nearest card: it would idle", mend) for port in idle]


def _tell_uneven(pair: Pair, best: Level, choice: Choice) -> Problem:
    name = ", ".join(port.hca for port in pair.ports)
    what = f"has no card below its own switch, other GPUs have ({best.name}): {name} is {pair.level.name} away."
    strays = [one.port for one in choice.asides if one.port.is_up and one.port.layer == pair.ports[0].layer]
    stray = ", ".join(f"{port.hca} below {port.device.root}" for port in strays if port.device)
    mend = f"below {pair.gpu.device.root} (`lspci -tv`) a card is missing" + (f"; is it {stray}?" if stray else "")
    what = f"{what} {PATHS[pair.level]}; the slowest GPU sets the pace of all"
    return Problem(pair.gpu.label, what, f"{mend}; accept it for good: rdma_far = True")


def _tell_far(pair: Pair) -> str:
    port = pair.ports[0]
    node = port.device.node if port.device else -1
    return (
        f"is on NUMA node {pair.gpu.device.node}, its nearest card {port.hca} on node {node} (SYS). {PATHS[Level.SYS]}"
    )


def check_nodes(ports: Sequence[Port], seen: Topology) -> list[Problem]:
    """On several NUMA nodes each card and GPU must say on which it is."""
    silent = [gpu.label for gpu in seen.gpus if gpu.device.node < 0]
    silent += [port.name for port in ports if port.device and port.device.node < 0]
    if len(seen.cpumaps) < 2 or not silent:
        return []
    mend = "NUMA on in the BIOS (not `node interleaving`), and its newest version"
    what = "the BIOS does not say on which NUMA node it is, so near and far cannot be told apart"
    return [Problem(", ".join(silent), what, mend)]


def check_printed(ports: Sequence[Port], seen: Topology) -> list[Problem]:
    """What the driver prints must not contradict the kernel: the parts may be of two servers, or of two days."""
    found = []
    for gpu in seen.gpus:
        for port in ports:
            said, level = seen.printed.get((gpu.index, port.hca), ""), find_level(gpu, port)
            if said in Level.__members__ and Level[said].is_near != level.is_near:
                what = f"the driver says {said} to {port.hca}, PCI says {level.name}"
                mend = "record both anew, at one time; else a kernel option or the BIOS hides part of the tree"
                found.append(Problem(gpu.label, what, mend))
    return found


def _group(ports: Iterable[Port], key: Callable[[Port], str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for port in ports:
        found[key(port)].append(port.hca)
    return dict(found)


def _tell_groups(groups: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in groups.items())


def _names(ports: Iterable[Port]) -> str:
    return ", ".join(port.name for port in ports)
