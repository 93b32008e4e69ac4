"""PCIe's own reports of errors (AER) of GPUs, switches, network cards and NVMe disks."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence, find_card
from dsops.node.sources.unread import Unread

LOST, CORRECTED = "pcie.aer", "pcie.corrected"
WITHIN = 600.0


def look(scene: Scene) -> Iterator[Sight]:
    machine = scene.host.machine
    cards = dict.fromkeys(name.split("/")[1] for name in machine.counters.list_names("pci/"))
    for card in cards:
        lost = [machine.counters.grown(f"pci/{card}/{kind}", WITHIN) for kind in ("fatal", "nonfatal")]
        yield from compare(
            LOST,
            find_card(scene, card),
            machine.sample,
            find_sum(lost),
            limit=scene.limit(LOST, "errors"),
            says=lambda errors: f"{errors:.0f} errors that PCIe could not correct within 10 min",
        )
        yield from compare(
            CORRECTED,
            find_card(scene, card),
            machine.sample,
            machine.counters.grown(f"pci/{card}/correctable", WITHIN),
            limit=scene.limit(CORRECTED, "errors"),
            says=lambda errors: f"{errors:.0f} errors that PCIe corrected within 10 min",
        )


def find_sum(values: list[int | Unread | None]) -> int | Unread | None:
    """Errors count though the other kind cannot be read."""
    known = sum(value for value in values if isinstance(value, int))
    return known or next((value for value in values if not isinstance(value, int)), 0)


def needs(scene: Scene) -> str:
    absence = find_absence(scene)
    if absence or scene.host.machine.counters.list_names("pci/"):
        return absence
    return "no card here reports errors of PCIe (AER)"


CHECK = Check(LOST, (LOST, CORRECTED), look, needs=needs, every=EVERY)
