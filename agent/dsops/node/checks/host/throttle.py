"""A CPU is slowed down again and again since it is hot."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence

CODE = "host.throttle"
WITHIN = 600.0


def look(scene: Scene) -> Iterator[Sight]:
    machine = scene.host.machine
    for name in machine.counters.list_names("throttle/"):
        yield from compare(
            CODE,
            f"cpu package {name.partition('/')[2]}",
            machine.sample,
            machine.counters.grown(name, WITHIN),
            limit=scene.limit(CODE, "times"),
            says=lambda times: f"slowed down {times:.0f} times within 10 min since it was hot",
        )


def needs(scene: Scene) -> str:
    absence = find_absence(scene)
    if absence or scene.host.machine.counters.list_names("throttle/"):
        return absence
    return "this CPU does not count it"


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
