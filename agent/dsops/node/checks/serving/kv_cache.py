"""The key-value cache of an engine is full, and requests give way to each other for it."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found
from dsops.node.checks.serving.slots import EVERY, get_grown, get_told, look_at, need
from dsops.node.sources.engines import CACHE_USED, PREEMPTIONS, WAITING
from dsops.node.sources.serving import SlotServing

CODE = "serving.kv_cache"
WITHIN = 120.0


def look(scene: Scene) -> Iterator[Sight]:
    """A full cache alone is as it should be: engines keep what may be asked again."""
    most = scene.limit(CODE, "share")

    def judge(slot: SlotServing) -> Found:
        used = get_told(slot, CACHE_USED)
        pressed, says = _find_pressure(slot)
        return Found(used >= most and pressed, f"{used:.0%} of the key-value cache are in use, {says}", used, most)

    return look_at(scene, CODE, judge)


def _find_pressure(slot: SlotServing) -> tuple[bool, str]:
    """Of an engine that does not count what it puts off, whether requests wait."""
    if PREEMPTIONS in slot.telling:
        preempted = get_grown(slot, PREEMPTIONS, within=WITHIN)
        return preempted > 0, f"{preempted} requests were put off for it within 2 min"
    waiting = get_told(slot, WAITING)
    return waiting > 0, f"and {waiting:.0f} requests wait"


CHECK = Check(CODE, (CODE,), look, needs=need(CACHE_USED, what="how full its key-value cache is"), every=EVERY)
