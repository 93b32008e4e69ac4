"""The kernel stopped writing to a disk that a node needs, or the cold tier is not there at all."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, NOT_YET, see_unread
from dsops.node.sources.storage import Place
from dsops.node.sources.unread import Unread

READONLY, MISSING = "storage.readonly", "storage.missing"


def look(scene: Scene) -> Iterator[Sight]:
    for place in scene.host.storage.places:
        yield _see_writing(place, scene.host.storage.sample)
        if place.wants_mount and not scene.host.machine.is_container and not isinstance(place.is_readonly, Unread):
            yield _see_mount(place, scene.host.storage.sample)


def _see_writing(place: Place, sample: str) -> Sight:
    """A file system that turned read-only is how ext4 and btrfs answer a disk that fails."""
    if isinstance(place.is_readonly, Unread):
        return see_unread(READONLY, place.path, sample, place.is_readonly)
    if place.is_readonly:
        return Sight(READONLY, place.path, Verdict.BAD, sample, f"the file system of {place.path} is read-only")
    return Sight(READONLY, place.path, Verdict.OK, sample)


def _see_mount(place: Place, sample: str) -> Sight:
    if place.is_mount:
        return Sight(MISSING, place.path, Verdict.OK, sample)
    return Sight(MISSING, place.path, Verdict.BAD, sample, f"{place.path} is not mounted")


def find_absence(scene: Scene) -> str:
    return "" if scene.host.storage.sample else NOT_YET


CHECK = Check("storage.readonly", (READONLY, MISSING), look, needs=find_absence, every=EVERY)
