"""How checks of what is served look: at one slot after the other, and what cannot be read is never OK."""

from collections.abc import Callable, Iterator

from dsops.core.checks import Sight
from dsops.core.status import Phase, Verdict
from dsops.node.checks.check import Scene
from dsops.node.checks.found import Found, Missing, Unreadable, make_sight
from dsops.node.sources.serving import SlotServing
from dsops.node.sources.unread import Unread

# Readings come no closer.
EVERY = 5.0
NO_SLOTS = "no release runs here"


def look_at(
    scene: Scene,
    code: str,
    judge: Callable[[SlotServing], Found],
    *,
    name: Callable[[SlotServing], str] | None = None,
) -> Iterator[Sight]:
    """One sight for each slot that serves. name: of the reading, where it is not that of the scene.

    What was stopped has ended, and what was wrong with it too; what does not answer at all slot.silent tells.
    """
    for slot in scene.serving.slots:
        if slot.release and slot.phase is Phase.STOPPED:
            yield make_sight(code, slot.entity, scene.serving.sample, Found(False, "nothing runs there"))
        elif slot.release and slot.phase is Phase.SERVING:
            yield from _look(code, slot, judge, name(slot) if name else scene.serving.sample)


def _look(code: str, slot: SlotServing, judge: Callable[[SlotServing], Found], name: str) -> Iterator[Sight]:
    try:
        yield make_sight(code, slot.entity, name, judge(slot))
    except Missing:
        return
    except Unreadable as error:
        yield Sight(code, slot.entity, Verdict.UNKNOWN, name, f"{error}")


def get_told(slot: SlotServing, key: str) -> float:
    """What the engine tells now. Raises Missing where it does not, Unreadable where nobody hears it."""
    if isinstance(slot.told, Unread):
        raise Unreadable(slot.told.reason)
    if key not in slot.told:
        raise Missing
    return slot.told[key]


def get_grown(slot: SlotServing, name: str, *, within: float) -> int:
    """How much a counter grew. Raises Missing while there is nothing to compare with, and Unreadable."""
    grown = slot.totals.grown(name, within)
    if isinstance(grown, Unread):
        raise Unreadable(grown.reason)
    if grown is None:
        raise Missing
    return grown


def find_no_slots(scene: Scene) -> str:
    """Why no slot can be looked at, "" when one can."""
    return "" if any(slot.release for slot in scene.serving.slots) else NO_SLOTS


def need(key: str, *, what: str) -> Callable[[Scene], str]:
    """For Check.needs: some engine here must have told it, whether it can be heard now or not."""

    def find(scene: Scene) -> str:
        if reason := find_no_slots(scene):
            return reason
        # One that was never heard may tell it.
        slots = [slot for slot in scene.serving.slots if slot.release]
        is_open = any(isinstance(one.told, Unread) and not one.telling and one.phase is Phase.SERVING for one in slots)
        is_told = any(key in slot.telling for slot in slots)
        return "" if is_told or is_open else f"no engine here tells {what}"

    return find
