"""Too many of the clients' requests to a release fail, as the gateway counts them."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found
from dsops.node.checks.serving.slots import EVERY, find_no_slots, get_grown, look_at
from dsops.node.sources.serving import FAILED, REQUESTS, SlotServing

CODE = "serving.errors"
WITHIN = 300.0


def look(scene: Scene) -> Iterator[Sight]:
    """Of few requests a failure or two are no finding."""
    most, least = scene.limit(CODE, "share"), scene.limit(CODE, "requests")

    def judge(slot: SlotServing) -> Found:
        requests, failed = (get_grown(slot, name, within=WITHIN) for name in (REQUESTS, FAILED))
        says = f"{failed} of {requests} requests failed within 5 min"
        share = failed / requests if requests else 0.0
        return Found(requests >= least and share > most, says, share, most)

    return look_at(scene, CODE, judge)


def needs(scene: Scene) -> str:
    if reason := find_no_slots(scene):
        return reason
    counts = any(slot.totals.list_names(REQUESTS) for slot in scene.serving.slots)
    return "" if counts else "no gateway here counts clients' requests"


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
