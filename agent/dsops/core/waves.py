"""Which servers change together, and whether a wave may begin: how many of each pool must go on serving. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

SHARE = 10  # percent of a pool that may be out at once
# Where the last one must stay: those that requests go through.
SERVING = ("gpu", "lb")


@dataclass(frozen=True)
class Member:
    """A server, what it is for, and the pools that it serves in: its groups."""

    name: str
    role: str
    pools: tuple[str, ...]


Wave = tuple[str, ...]


def get_most(size: int, asked: int | None = None) -> int:
    """How many of a pool may be out at once: a tenth or what was asked for, at least one, never all of several."""
    most = asked or max(1, size * SHARE // 100)
    return max(1, min(most, size - 1))


def count_pools(fleet: Sequence[Member]) -> Counter[str]:
    """How many servers each pool has."""
    return Counter(pool for member in fleet for pool in member.pools)


def make_waves(fleet: Sequence[Member], changed: Collection[str], *, asked: int | None = None) -> tuple[Wave, ...]:
    """The servers that change, in waves: gpu servers first, one kind after the other, the first of a kind alone."""
    sizes = count_pools(fleet)
    waves: list[Wave] = []
    for role in sorted(dict.fromkeys(member.role for member in fleet), key=lambda role: role != "gpu"):
        left = [member for member in fleet if member.role == role and member.name in changed]
        if left:
            waves.append((left.pop(0).name,))
        while left:
            wave = _fill(left, sizes, asked=asked)
            waves.append(tuple(member.name for member in wave))
            left = [member for member in left if member not in wave]
    return tuple(waves)


def _fill(left: Sequence[Member], sizes: Mapping[str, int], *, asked: int | None) -> list[Member]:
    """As many as every one of their pools allows; a server in no pool counts as one of its own."""
    out: Counter[str] = Counter()
    wave: list[Member] = []
    for member in left:
        pools = member.pools or ("",)
        if all(out[pool] < get_most(sizes[pool] if pool else len(left), asked) for pool in pools):
            wave.append(member)
            out.update(pools)
    return wave


@dataclass(frozen=True)
class Live:
    """Who served when it began, and who serves now."""

    served: frozenset[str]
    serving: frozenset[str]


def find_obstacle(
    fleet: Sequence[Member], out: Collection[str], live: Live, *, asked: int | None = None, outage: bool = False
) -> str:
    """Why a wave that takes these servers out must not begin; empty when it may.

    outage: the last one of a pool may go too, which its operator has agreed to. A server that does not serve
    anyway, such as a fresh one, takes nothing away.
    """
    for pool, size in count_pools([one for one in fleet if one.role in SERVING]).items():
        members = {one.name for one in fleet if pool in one.pools}
        going = members & set(out) & live.serving
        lost = sorted((members & live.served) - live.serving)
        if not going:
            continue
        most = get_most(size, asked)
        if len(going) + len(lost) > most:
            gone = f": {', '.join(lost)} served when this began and does not any more" if lost else ""
            return f"{len(going) + len(lost)} of pool {pool} would be out, {most} may be{gone}"
        if going >= members & live.serving and not outage:
            return f"{', '.join(sorted(going))} is the last that serves of pool {pool}"
    return ""


@dataclass(frozen=True)
class Capacity:
    """How many of a pool serve while a wave runs, at least."""

    pool: str
    serve: int
    of: int


def count_capacity(fleet: Sequence[Member], out: Collection[str]) -> tuple[Capacity, ...]:
    """For the pools that a wave takes servers from."""
    sizes = count_pools([one for one in fleet if one.role in SERVING])
    gone = count_pools([one for one in fleet if one.name in out and one.role in SERVING])
    return tuple(Capacity(pool, sizes[pool] - count, sizes[pool]) for pool, count in gone.items())
