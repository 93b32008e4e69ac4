"""Topology in, map and settings out: or every reason why not. Pure."""

from dataclasses import dataclass

from dsops.core.topology.asked import Asked
from dsops.core.topology.choose import Aside, Choice, choose_ports, is_wanted
from dsops.core.topology.front import find_front
from dsops.core.topology.gids import Gids, find_gids
from dsops.core.topology.hand import check_hand, take_hand
from dsops.core.topology.judge import check_bonds, check_nodes, check_pairs, check_ports, check_printed, check_subnets
from dsops.core.topology.lines import Line, make_lines
from dsops.core.topology.model import Port, Problem, Topology
from dsops.core.topology.nccl import render_topology
from dsops.core.topology.pair import Pair, pair_all


@dataclass(frozen=True)
class Compiled:
    """pairs: also of a refused map, to look at. lines, xml: empty when it is refused."""

    seen: Topology
    ports: tuple[Port, ...]
    asides: tuple[Aside, ...]
    pairs: tuple[Pair, ...]
    gids: Gids
    problems: tuple[Problem, ...] = ()
    lines: tuple[Line, ...] = ()
    xml: str = ""


def compile_network(seen: Topology, asked: Asked) -> Compiled:
    """Everything about one server."""
    choice = choose_ports(seen, asked)
    up = tuple(port for port in choice.ports if port.is_up)
    # A port that is down keeps its place: that it is down is said once, not of every GPU.
    gids, pairs = find_gids(up), pair_all(seen.gpus, choice.ports)
    problems = tuple(_judge(seen, asked, choice, pairs, gids))
    if asked.by_hand and not problems:
        pairs = take_hand(asked, pairs, seen.ports)
    front = find_front(seen, asked)
    if isinstance(front, Problem):
        problems = (*problems, front)
    if problems or isinstance(front, Problem):
        return Compiled(seen, choice.ports, choice.asides, pairs, gids, problems)
    lines = make_lines(up, front=front, gids=gids, asked=asked)
    return Compiled(seen, up, choice.asides, pairs, gids, (), lines, render_topology(seen, pairs))


def _judge(seen: Topology, asked: Asked, choice: Choice, pairs: tuple[Pair, ...], gids: Gids) -> list[Problem]:
    if choice.problems:
        return list(choice.problems)
    if not choice.ports:
        return _check_wanted(seen, asked, choice)
    found = [*check_ports(choice.ports), *gids.problems]
    found += check_subnets(choice.ports, seen, asked, gids) if not gids.problems else []
    found += [*check_bonds(choice.ports, seen), *check_nodes(choice.ports, seen), *check_printed(choice.ports, seen)]
    hand = check_hand(asked, pairs, seen.ports)
    return [*found, *check_pairs(pairs, choice, asked), *hand]


def _check_wanted(seen: Topology, asked: Asked, choice: Choice) -> list[Problem]:
    """Nothing is fine where nobody asked for it; else everything would go by TCP, and nobody would know."""
    if not is_wanted(asked):
        return []
    left = "; ".join(f"{one.port.name}: {one.why}" for one in choice.asides) or "there is no RDMA device"
    mend = 'is the driver of its card loaded (`ibv_devices`)? Without RDMA on purpose: rdma = "none"'
    return [Problem(seen.node, f"RDMA is asked for, and no port is left ({left}): all would go by TCP", mend)]
