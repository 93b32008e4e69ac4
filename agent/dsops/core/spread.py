"""How far a step of a rollout spreads a release: over how many nodes, with which share, which of them. Pure."""

from collections import Counter
from collections.abc import Collection, Sequence

from dsops.core.lanes import SHARES
from dsops.core.rollout_events import Seen
from dsops.core.rollout_state import Part, Rollout, Stand
from dsops.core.waves import get_most


def plan_step(percent: int, size: int, *, is_first: bool) -> tuple[int, int]:
    """(nodes, share of each) for a step over `size` nodes; the first one of several is a canary on one node."""
    if is_first and percent < 100:
        return 1, _find_share(percent)
    nodes = max(1, percent * size // 100)
    return nodes, _find_share(percent * size // nodes)


def _find_share(most: int) -> int:
    return max(share for share in SHARES if share <= max(1, most))


def find_targets(rollout: Rollout) -> dict[str, int]:
    """node -> share that it should have in the step under way: those that have it already come first.

    Where two copies do not fit, or nothing serves yet, it is all or nothing. A share never goes down here.
    """
    members = [part for part in rollout.parts if part.stand is not Stand.OUT]
    if not members:
        return {}
    nodes, share = plan_step(rollout.percent, len(members), is_first=rollout.step == 0)
    begun = [part for part in members if part.wants]
    fresh = [part for part in members if not part.wants and can_come(part)]
    chosen = [*begun, *fresh[: max(0, nodes - len(begun))]]
    return {part.node: 100 if part.alone or not part.before else max(share, part.wants) for part in chosen}


def can_come(part: Part) -> bool:
    """Whether its turn may come: it is there, serves, and nobody works on it."""
    is_there = part.stand is Stand.WAITS and not part.gone_at and not part.closed and not part.is_moving
    return is_there and (part.is_serving or is_empty(part))


def is_empty(part: Part) -> bool:
    """A fresh node: no release has its traffic, so that nobody misses it. Of a silent one nobody can say so."""
    return not part.before and not part.share and not part.wants and not part.gone_at


def find_spares(nodes: Sequence[Seen]) -> frozenset[str]:
    """Empty nodes that must come first: the only one that serves of their pool cannot be drained before they do."""
    spares: set[str] = set()
    for pool in {one.pool for one in nodes if one.alone}:
        there = [one for one in nodes if one.pool == pool and one.is_reachable and not one.drained]
        if sum(one.is_serving for one in there) == 1:
            spares.update(one.node for one in there if not one.active and not one.alone)
    return frozenset(spares)


def order_parts(parts: Sequence[Part], *, first: Collection[str] = ()) -> tuple[Part, ...]:
    """In the order of their turn: those first that hold two copies, and every pool in the measure of its size.

    A fresh node comes last: it has nothing that its samples could be compared with. first: but for these.
    """
    sizes, seen = Counter(part.pool for part in parts), Counter[str]()
    places: dict[str, float] = {}
    for part in parts:
        places[part.node] = seen[part.pool] / sizes[part.pool]
        seen[part.pool] += 1

    def place(part: Part) -> tuple[bool, bool, bool, float]:
        return part.node not in first, not part.before, part.alone, places[part.node]

    return tuple(sorted(parts, key=place))


def is_out(part: Part) -> bool:
    """Whether it serves nobody, for whatever cause."""
    return bool(part.gone_at or part.closed or part.drained or not part.is_serving)


def find_crowded(rollout: Rollout) -> str:
    """Why nothing may go forward: more of a pool are out, without this rollout, than may be; "" when not."""
    for pool, members in _find_pools(rollout).items():
        out = [part.node for part in members if is_out(part) and not part.drained and not is_empty(part)]
        most = get_most(len(members), rollout.rules.unavailable or None)
        if len(out) > most:
            return f"{len(out)} of {len(members)} of pool {pool} do not serve, {most} may be out: {', '.join(out[:5])}"
    return ""


def find_no_room(rollout: Rollout, part: Part) -> str:
    """Why this node must not be taken out of its pool now; "" when it may."""
    members = _find_pools(rollout)[part.pool]
    most = get_most(len(members), rollout.rules.unavailable or None)
    others = [one for one in members if one.node != part.node]
    out = [one.node for one in others if is_out(one) and not is_empty(one)]
    if all(is_out(one) for one in others):
        return f"{part.node} is the last that serves of pool {part.pool}"
    return f"{', '.join(out[:5])} of pool {part.pool} are out, {most} may be" if len(out) >= most else ""


def _find_pools(rollout: Rollout) -> dict[str, list[Part]]:
    pools: dict[str, list[Part]] = {}
    for part in rollout.parts:
        if not part.is_gone:
            pools.setdefault(part.pool, []).append(part)
    return pools
