"""The memory of a slot's processes grows hour after hour, and will not last until the end of the day."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found, Missing, Unreadable
from dsops.node.checks.serving.slots import find_no_slots, look_at
from dsops.node.sources.serving import SlotServing
from dsops.node.sources.trend import WINDOW_SECONDS
from dsops.node.sources.unread import Unread

CODE = "serving.memory_creep"
EVERY = 60.0
HOUR = 3600.0
MEBI = 1 << 20


def look(scene: Scene) -> Iterator[Sight]:
    """A reading is a window of the trend: nothing new is known before the next one."""
    window = f"{scene.ticks // WINDOW_SECONDS:.0f}"
    return look_at(scene, CODE, lambda slot: _judge(scene, slot), name=lambda _: window)


def _judge(scene: Scene, slot: SlotServing) -> Found:
    """Both over all hours and over the last one: a cache that filled up has stopped to grow."""
    left = _find_left(scene, slot)
    if slot.memory.seconds < scene.limit(CODE, "least_hours") * HOUR:
        raise Missing
    slopes = [slot.memory.find_slope(within) for within in (slot.memory.seconds, HOUR)]
    slope = min(one if one is not None else 0.0 for one in slopes)
    most = scene.limit(CODE, "hours")
    if slope <= 0:
        return Found(False, "its memory does not grow")
    hours = left / slope / HOUR
    grows = f"its memory grows by {slope * HOUR / MEBI:.0f} MiB an hour"
    return Found(hours < most, f"{grows}: the {left / MEBI:.0f} MiB that are left last {hours:.0f} h", hours, most)


def _find_left(scene: Scene, slot: SlotServing) -> float:
    """What its processes may still take: of their own bound, and of this server's memory."""
    use, room = slot.use, scene.serving.room
    if isinstance(use, Unread):
        raise Missing if use.is_missing else Unreadable(use.reason)
    if isinstance(room, Unread):
        raise Unreadable(room.reason)
    return float(room if use.most is None else min(room, max(0, use.most - use.own)))


def needs(scene: Scene) -> str:
    if reason := find_no_slots(scene):
        return reason
    uses = [slot.use for slot in scene.serving.slots if slot.release]
    absent = [use.reason for use in uses if isinstance(use, Unread) and use.is_missing]
    return absent[0] if len(absent) == len(uses) else ""


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
