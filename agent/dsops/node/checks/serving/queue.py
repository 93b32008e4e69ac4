"""More requests wait in an engine than it gets done, and have done so for minutes."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found
from dsops.node.checks.serving.slots import EVERY, get_told, look_at, need
from dsops.node.sources.engines import WAITING
from dsops.node.sources.serving import SlotServing

CODE = "serving.queue"


def look(scene: Scene) -> Iterator[Sight]:
    """A queue that empties now and then is none: one look below the limit begins afresh."""
    most = scene.limit(CODE, "requests")

    def judge(slot: SlotServing) -> Found:
        waiting = get_told(slot, WAITING)
        return Found(waiting >= most, f"{waiting:.0f} requests wait in the engine", waiting, most)

    return look_at(scene, CODE, judge)


CHECK = Check(CODE, (CODE,), look, needs=need(WAITING, what="how many requests wait"), every=EVERY)
