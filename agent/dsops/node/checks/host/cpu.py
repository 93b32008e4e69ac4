"""Programs wait for a CPU most of the time: tokens are late though the GPUs have time."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence

CODE = "host.cpu"


def look(scene: Scene) -> Iterator[Sight]:
    yield from compare(
        CODE,
        "cpu",
        scene.host.machine.sample,
        scene.host.machine.busy_cpu,
        limit=scene.limit(CODE, "percent"),
        says=lambda percent: f"something waited for a CPU {percent:.0f} % of the last minute",
    )


def needs(scene: Scene) -> str:
    if scene.expected_gpus == 0 and scene.slots:
        return "the engine computes on this CPU: it is there to be used up"
    return find_absence(scene, scene.host.machine.busy_cpu)


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
