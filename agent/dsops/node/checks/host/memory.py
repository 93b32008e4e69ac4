"""How much memory is left, and whether processes stand still for want of it."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence, see_unread
from dsops.node.sources.unread import Unread

LOW, STALLED = "host.memory", "host.stalled"


def look(scene: Scene) -> Iterator[Sight]:
    memory, sample = scene.host.machine.memory, scene.host.machine.sample
    if isinstance(memory.total, Unread):
        yield see_unread(LOW, "memory", sample, memory.total)
    else:
        limit = min(memory.total * scene.limit(LOW, "share"), scene.limit(LOW, "bytes"))
        yield from compare(
            LOW,
            "memory",
            sample,
            memory.available,
            limit=limit,
            at_least=True,
            says=lambda free: f"{free / 1e6:.0f} MB of memory are left",
        )
    if isinstance(memory.stalled, Unread) and memory.stalled.is_missing:
        return  # a kernel without PSI
    yield from compare(
        STALLED,
        "memory",
        sample,
        memory.stalled,
        limit=scene.limit(STALLED, "percent"),
        says=lambda percent: f"all processes waited for memory {percent:.0f} % of the last minute",
    )


def needs(scene: Scene) -> str:
    return find_absence(scene, scene.host.machine.memory.total)


CHECK = Check("host.memory", (LOW, STALLED), look, needs=needs, every=EVERY)
