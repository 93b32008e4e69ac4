"""An engine computed what is no number: it says so itself, whatever became of the answer."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found
from dsops.node.checks.serving.slots import EVERY, get_grown, get_told, look_at, need
from dsops.node.sources.engines import NANS
from dsops.node.sources.serving import SlotServing

CODE = "serving.nans"
WITHIN = 600.0


def judge(slot: SlotServing) -> Found:
    get_told(slot, NANS)
    requests = get_grown(slot, NANS, within=WITHIN)
    says = f"{requests} requests met a NaN within 10 min"
    return Found(requests > 0, says, float(requests), 0.0)


def look(scene: Scene) -> Iterator[Sight]:
    return look_at(scene, CODE, judge)


CHECK = Check(CODE, (CODE,), look, needs=need(NANS, what="whether it computed a NaN"), every=EVERY)
