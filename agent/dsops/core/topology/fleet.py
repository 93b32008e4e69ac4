"""What only shows beside each other: servers that are to work as one, and the file that names them. Pure."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from dsops.core.topology.compile import Compiled
from dsops.core.topology.gids import find_subnet
from dsops.core.topology.judge import NO_GUID
from dsops.core.topology.model import Problem

MEND = "leave it out, or mend it: the slowest and the odd one set the pace of all"


def check_fleet(nodes: Sequence[Compiled]) -> list[Problem]:
    """Servers that differ in what NCCL needs to be alike. Only of those whose own map is sound."""
    sound = [one for one in nodes if not one.problems]
    found = _check_guids(sound)
    for what, key in (("GPUs", _count_gpus), ("ports for GPUs", _tell_ports), ("subnets", _tell_subnets)):
        found += _check_alike(sound, what, key)
    return found


def _check_guids(nodes: Sequence[Compiled]) -> list[Problem]:
    owners: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        for port in node.ports:
            owners[port.guid].append(f"{node.seen.node} {port.hca}")
    mend = "one recording under two names? Else give each card its own GUID"
    return [
        Problem(", ".join(names), f"have one GUID ({guid}): a fabric cannot tell them apart", mend)
        for guid, names in owners.items()
        if len({name.split()[0] for name in names}) > 1 and guid not in ("", NO_GUID)
    ]


def _check_alike(nodes: Sequence[Compiled], what: str, key: Callable[[Compiled], str]) -> list[Problem]:
    groups: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        groups[key(node)].append(node.seen.node)
    if len(groups) < 2:
        return []
    said = "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())
    return [Problem(", ".join(node.seen.node for node in nodes), f"servers differ in {what}: {said}", MEND)]


def _count_gpus(node: Compiled) -> str:
    return str(len(node.seen.gpus))


def _tell_ports(node: Compiled) -> str:
    kinds = sorted(f"{port.layer} {port.rate:g} Gb/s" for port in node.ports)
    return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)) or "none"


def _tell_subnets(node: Compiled) -> str:
    found = {find_subnet(port, node.gids, node.seen) for port in node.ports}
    return ", ".join(sorted(found)) or "none"


def render_hostfile(nodes: Sequence[Compiled], addresses: dict[str, str]) -> str:
    """For mpirun, torchrun and their like: `ADDRESS slots=GPUS`. addresses: node -> where the others reach it."""
    rows = [(addresses.get(one.seen.node) or one.seen.node, len(one.seen.gpus)) for one in nodes if one.seen.gpus]
    return "".join(f"{address} slots={count}\n" for address, count in rows)
