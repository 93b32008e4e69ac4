"""Linux's software RAID: an array that lost a disk, or stopped."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, NOT_YET, find_absence, see_unread
from dsops.node.sources.unread import Unread

CODE = "storage.raid"


def look(scene: Scene) -> Iterator[Sight]:
    """All arrays are one entity: one that is taken apart on purpose must not stay broken for ever."""
    arrays, sample = scene.host.storage.arrays, scene.host.storage.sample
    if isinstance(arrays, Unread):
        yield see_unread(CODE, "raid", sample, arrays)
        return
    broken = [f"{array.name} {array.says}" for array in arrays if array.says]
    yield Sight(CODE, "raid", Verdict.BAD if broken else Verdict.OK, sample, "; ".join(broken))


def needs(scene: Scene) -> str:
    arrays = scene.host.storage.arrays
    if not scene.host.storage.sample:
        return NOT_YET
    return find_absence(scene, arrays) or ("" if isinstance(arrays, Unread) or arrays else "no array of Linux's RAID")


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
