"""Errors of the memory itself, as its controllers count them: those that were corrected, and those that were not."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence, see_unread
from dsops.node.sources.counters import KEEP_SECONDS
from dsops.node.sources.unread import Unread

LOST, CORRECTED = "host.edac", "host.edac_corrected"
HOUR = 3600.0


def look(scene: Scene) -> Iterator[Sight]:
    """Entities such as `mc0`: one memory controller, with its own slots."""
    machine = scene.host.machine
    for name in machine.counters.list_names("edac/"):
        _, controller, kind = name.split("/")
        if kind == "ue":
            yield from _look_for_lost(scene, name, controller)
        else:
            grown = machine.counters.grown(name, KEEP_SECONDS)
            yield from compare(
                CORRECTED,
                controller,
                machine.sample,
                grown * HOUR / KEEP_SECONDS if isinstance(grown, int) else grown,
                limit=scene.limit(CORRECTED, "per_hour"),
                says=lambda rate: f"{rate:.0f} errors an hour are corrected",
            )


def _look_for_lost(scene: Scene, name: str, controller: str) -> Iterator[Sight]:
    """An event; its name is the counter's height."""
    counters = scene.host.machine.counters
    grown = counters.grown(name, KEEP_SECONDS)
    if isinstance(grown, Unread):
        yield see_unread(LOST, controller, scene.host.machine.sample, grown)
    elif grown:
        total = counters.samples[-1][1][name]
        yield Sight(LOST, controller, Verdict.BAD, f"{total}", "memory lost what it held", float(grown))


def needs(scene: Scene) -> str:
    absence = find_absence(scene)
    if absence or scene.host.machine.counters.list_names("edac/"):
        return absence
    return "no memory controller is watched here (EDAC)"


CHECK = Check("host.edac", (LOST, CORRECTED), look, needs=needs, every=EVERY)
