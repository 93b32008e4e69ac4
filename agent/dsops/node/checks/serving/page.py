"""Triton's metrics page does not answer, or its counters stand still though clients get tokens: the rest is blind."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found
from dsops.node.checks.serving.slots import EVERY, find_no_slots, get_grown, get_told, look_at
from dsops.node.sources.engines import GENERATED
from dsops.node.sources.serving import RELAYED, SlotServing
from dsops.node.sources.unread import Unread

SILENT, FROZEN = "serving.metrics_silent", "serving.metrics_frozen"
WITHIN = 120.0


def judge_silent(slot: SlotServing) -> Found:
    """That it cannot be read is what is found here; that the slot serves nobody doubts."""
    is_silent = isinstance(slot.told, Unread)
    return Found(is_silent, slot.told.reason if isinstance(slot.told, Unread) else "its metrics page answers")


def look(scene: Scene) -> Iterator[Sight]:
    least = scene.limit(FROZEN, "tokens")

    def judge_frozen(slot: SlotServing) -> Found:
        """Nobody needs to have asked anything."""
        get_told(slot, GENERATED)
        counted, relayed = (get_grown(slot, name, within=WITHIN) for name in (GENERATED, RELAYED))
        says = f"the engine counted {counted} tokens within 2 min, and the gateway got {relayed} from it"
        return Found(counted == 0 and relayed >= least, says, float(relayed), least)

    yield from look_at(scene, SILENT, judge_silent)
    yield from look_at(scene, FROZEN, judge_frozen)


CHECK = Check("serving.metrics", (SILENT, FROZEN), look, needs=find_no_slots, every=EVERY)
