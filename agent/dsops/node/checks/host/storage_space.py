"""Free bytes and inodes of the file systems that a node needs: few, and none."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, NOT_YET, compare, see_unread
from dsops.node.sources.storage import Place, Space
from dsops.node.sources.unread import Unread

FULL, LOW = "storage.full", "storage.low"
INODES_FULL, INODES_LOW = "storage.inodes_full", "storage.inodes_low"


def look(scene: Scene) -> Iterator[Sight]:
    for place in scene.host.storage.places:
        yield from _look_at(scene, place)


def _look_at(scene: Scene, place: Place) -> Iterator[Sight]:
    space, sample = place.space, scene.host.storage.sample
    if isinstance(space, Unread):
        if not space.is_missing:  # a tier that is not there is told by storage.missing
            yield see_unread(FULL, place.path, sample, space)
        return
    yield from compare(
        FULL,
        place.path,
        sample,
        space.free,
        limit=scene.limit(FULL, "bytes"),
        at_least=True,
        says=lambda free: f"{place.path} is full: {free / 1e6:.1f} MB are free",
    )
    # The root of a container is its host's disk, which its host looks after.
    if not (scene.host.machine.is_container and place.path == "/"):
        yield from compare(
            LOW,
            place.path,
            sample,
            space.free / max(space.total, 1),
            limit=scene.limit(LOW, "share"),
            at_least=True,
            says=lambda share: f"{share:.1%} of {place.path} are free",
        )
    yield from _look_at_inodes(scene, place.path, space)


def _look_at_inodes(scene: Scene, path: str, space: Space) -> Iterator[Sight]:
    """Nothing where a file system makes as many as it needs."""
    if space.inodes_free is None or not space.inodes:
        return
    free, sample = space.inodes_free, scene.host.storage.sample
    yield from compare(
        INODES_FULL,
        path,
        sample,
        free,
        limit=scene.limit(INODES_FULL, "count"),
        at_least=True,
        says=lambda count: f"{path} can hold {count:.0f} more files",
    )
    yield from compare(
        INODES_LOW,
        path,
        sample,
        free / space.inodes,
        limit=scene.limit(INODES_LOW, "share"),
        at_least=True,
        says=lambda share: f"{share:.1%} of the inodes of {path} are free",
    )


def find_absence(scene: Scene) -> str:
    return "" if scene.host.storage.sample else NOT_YET


CHECK = Check("storage.space", (FULL, LOW, INODES_FULL, INODES_LOW), look, needs=find_absence, every=EVERY)
