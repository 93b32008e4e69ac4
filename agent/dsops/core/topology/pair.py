"""Which GPU uses which ports: the nearest ones, shared out evenly. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dsops.core.topology.distance import find_level
from dsops.core.topology.model import Gpu, Level, Port

WORDS = {
    Level.PIX: "one PCIe switch between them",
    Level.PXB: "PCIe switches between them, no processor",
    Level.PHB: "a processor's host bridge between them",
    Level.NODE: "two host bridges of one NUMA node between them",
    Level.SYS: "the link between processors lies between them",
}


@dataclass(frozen=True)
class Pair:
    """One GPU and its ports. users: how many GPUs share the most used of them."""

    gpu: Gpu
    ports: tuple[Port, ...]
    level: Level
    users: int = 1

    @property
    def rate(self) -> float:
        """Gbit/s that are this GPU's when all are busy."""
        return sum(port.rate for port in self.ports) / self.users

    @property
    def why(self) -> str:
        shared = f"; shared by {self.users} GPUs" if self.users > 1 else ""
        return f"{WORDS[self.level]}{shared}"


def pair_all(gpus: Sequence[Gpu], ports: Sequence[Port]) -> tuple[Pair, ...]:
    """Every GPU with its nearest ports. GPUs that are equally near to the same ports share them out in PCI's order."""
    if not ports:
        return ()
    groups: dict[tuple[Level, tuple[Port, ...]], list[Gpu]] = defaultdict(list)
    for gpu in sorted(gpus, key=lambda gpu: gpu.device.address):
        groups[_find_nearest(gpu, ports)].append(gpu)
    given: dict[int, tuple[Port, ...]] = {}
    users: Counter[Port] = Counter()
    for (_, near), members in sorted(groups.items(), key=lambda item: item[0][0]):
        for gpu, found in zip(members, _share(near, len(members), users), strict=True):
            given[gpu.index] = found
            users.update(found)
    return render_pairs(gpus, given)


def render_pairs(gpus: Sequence[Gpu], given: dict[int, tuple[Port, ...]]) -> tuple[Pair, ...]:
    """given: GPU's index -> ports; with how far they are and how many share them."""
    users = Counter(port for ports in given.values() for port in ports)
    return tuple(
        Pair(
            gpu,
            given[gpu.index],
            max(find_level(gpu, port) for port in given[gpu.index]),
            max(users[port] for port in given[gpu.index]),
        )
        for gpu in gpus
        if given.get(gpu.index)
    )


def _find_nearest(gpu: Gpu, ports: Sequence[Port]) -> tuple[Level, tuple[Port, ...]]:
    best = min(find_level(gpu, port) for port in ports)
    return best, tuple(port for port in ports if find_level(gpu, port) == best)


def _share(near: tuple[Port, ...], members: int, users: Mapping[Port, int]) -> list[tuple[Port, ...]]:
    """One share for each member: ports that no nearer GPU has, all of them; else one each, the least used first."""
    free = [port for port in near if not users[port]]
    if len(free) >= members:
        return [tuple(free[place::members]) for place in range(members)]
    pool = free or sorted(near, key=lambda port: users[port])
    return [(pool[place % len(pool)],) for place in range(members)]
