"""The disk that a model, or the system, lies on: it stands still, is slow, or can do no more."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence, see_unread
from dsops.node.sources.disks import Disk
from dsops.node.sources.unread import Unread

STUCK, SLOW, BUSY = "storage.stuck", "storage.slow", "storage.busy"
STUCK_WITHIN, SLOW_WITHIN, BUSY_WITHIN = 30.0, 60.0, 300.0


def look(scene: Scene) -> Iterator[Sight]:
    for path, disk in scene.host.machine.disks.items():
        if isinstance(disk, Unread):
            if not disk.is_missing:
                yield see_unread(STUCK, path, scene.host.machine.sample, disk)
            continue
        yield from _look_for_standstill(scene, path, disk)
        yield from _look_at_waits(scene, path, disk)
        yield from _look_at_use(scene, path, disk)


def _look_for_standstill(scene: Scene, path: str, disk: Disk) -> Iterator[Sight]:
    """What was asked of it, and nothing at all came back."""
    machine = scene.host.machine
    done = machine.counters.grown(f"disk{path}/done", STUCK_WITHIN)
    if not isinstance(done, int):
        return
    is_bad = done == 0 and disk.in_flight > 0
    reason = f"{disk.name} has answered none of {disk.in_flight} requests for {STUCK_WITHIN:.0f} s" if is_bad else ""
    verdict = Verdict.BAD if is_bad else Verdict.OK
    yield Sight(STUCK, path, verdict, machine.sample, reason, float(disk.in_flight))


def _look_at_waits(scene: Scene, path: str, disk: Disk) -> Iterator[Sight]:
    """A few requests say nothing of a disk; one that turns may take longer."""
    machine = scene.host.machine
    done, waited = (machine.counters.grown(f"disk{path}/{key}", SLOW_WITHIN) for key in ("done", "wait_ms"))
    if not isinstance(done, int) or not isinstance(waited, int):
        return
    yield from compare(
        SLOW,
        path,
        machine.sample,
        waited / done if done >= scene.limit(SLOW, "requests") else 0.0,
        limit=scene.limit(SLOW, "turning_ms" if disk.is_rotational else "ms"),
        says=lambda ms: f"{disk.name} took {ms:.0f} ms for each of {done} requests of the last minute",
    )


def _look_at_use(scene: Scene, path: str, disk: Disk) -> Iterator[Sight]:
    machine = scene.host.machine
    rate = machine.counters.rate(f"disk{path}/busy_ms", BUSY_WITHIN)
    if not isinstance(rate, float):
        return
    yield from compare(
        BUSY,
        path,
        machine.sample,
        rate / 1000,
        limit=scene.limit(BUSY, "share"),
        says=lambda share: f"{disk.name} had something to do for {share:.0%} of the last 5 min",
    )


def needs(scene: Scene) -> str:
    machine = scene.host.machine
    return find_absence(scene, *machine.disks.values()) or ("" if machine.disks else "no disk is looked at here")


CHECK = Check("storage.disk", (STUCK, SLOW, BUSY), look, needs=needs, every=EVERY)
