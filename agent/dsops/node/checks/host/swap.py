"""Memory is read back from swap all the time: whatever waits for it is slow."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence

CODE = "host.swap"
WITHIN = 60.0


def look(scene: Scene) -> Iterator[Sight]:
    """Written pages are none: what is not needed may lie there."""
    machine = scene.host.machine
    yield from compare(
        CODE,
        "memory",
        machine.sample,
        machine.counters.rate("pswpin", WITHIN),
        limit=scene.limit(CODE, "pages_per_second"),
        says=lambda rate: f"{rate:.0f} pages a second are read back from swap",
    )


def needs(scene: Scene) -> str:
    swap = scene.host.machine.memory.swap
    return find_absence(scene, swap) or ("there is no swap here" if swap == 0 else "")


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
