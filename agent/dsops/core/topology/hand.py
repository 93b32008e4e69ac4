"""A map that somebody made by hand, against the one that the topology gives: refused with what it would cost. Pure."""

from collections.abc import Sequence

from dsops.core.topology.asked import Asked
from dsops.core.topology.cost import render_factor, tell_cost
from dsops.core.topology.model import Port, Problem
from dsops.core.topology.pair import Pair, render_pairs


def check_hand(asked: Asked, pairs: Sequence[Pair], every: Sequence[Port]) -> list[Problem]:
    """One that differs and costs nothing passes: two cards that are equally near are the same."""
    if not asked.by_hand:
        return []
    known = {pair.gpu.index for pair in pairs}
    strange = sorted(set(asked.by_hand) - known)
    missing = sorted(known - set(asked.by_hand))
    mend = "one entry for each GPU, or no rdma_map at all: it is found by itself"
    if strange or missing:
        said = [f"GPU{index} is not there" for index in strange] + [f"GPU{index} is left out" for index in missing]
        return [Problem("rdma_map", "; ".join(said), mend)]
    made = take_hand(asked, pairs, every)
    found = [
        Problem(f"rdma_map/{best.gpu.label}", _tell(one, best, cost), f"rdma_map: {best.gpu.index}={_cards(best)}")
        for one, best in zip(made, pairs, strict=True)
        if (cost := tell_cost(one, best))
    ]
    return [*found, *_tell_pace(made, pairs)] if found else []


def take_hand(asked: Asked, pairs: Sequence[Pair], every: Sequence[Port]) -> tuple[Pair, ...]:
    """The pairs as they were written."""
    ports = {port.hca: port for port in reversed(every)}
    given = {index: tuple(ports[name] for name in names) for index, names in asked.by_hand.items()}
    return render_pairs([pair.gpu for pair in pairs], given)


def _tell(made: Pair, best: Pair, cost: str) -> str:
    return f"{_cards(made)} by hand, {_cards(best)} by the topology: {cost}"


def _tell_pace(made: Sequence[Pair], best: Sequence[Pair]) -> list[Problem]:
    slowest, was = min(pair.rate for pair in made), min(pair.rate for pair in best)
    if slowest >= was:
        return []
    what = f"the slowest GPU sets the pace of all: {render_factor(was, slowest)} slower on every all-reduce"
    return [Problem("rdma_map", what, "leave rdma_map out: the map is found by itself")]


def _cards(pair: Pair) -> str:
    return ",".join(port.hca for port in pair.ports)
