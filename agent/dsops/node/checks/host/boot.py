"""How this machine came to its present boot: out of a panic, without a shutdown, or for the n-th time in a day."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence, see_unread
from dsops.node.sources.unread import Unread

PANIC, CRASH, BOOTS = "host.panic", "host.crash", "host.boots"
DAY = 86400.0


def look_for_panic(scene: Scene) -> Iterator[Sight]:
    """An event; its name is the boot's, so that it is told once."""
    panics = scene.host.machine.panics
    if isinstance(panics, Unread):
        yield see_unread(PANIC, "kernel", scene.host.machine.sample, panics)
    elif panics:
        said = "the boot before this one ended in a panic of the kernel"
        yield Sight(PANIC, "kernel", Verdict.BAD, scene.boot, said, float(panics))


def look_for_crash(scene: Scene) -> Iterator[Sight]:
    """An event likewise."""
    crashed = scene.host.machine.crashed
    if isinstance(crashed, Unread):
        yield see_unread(CRASH, "kernel", scene.host.machine.sample, crashed)
    elif crashed:
        said = "the boot before this one ended without a shutdown"
        yield Sight(CRASH, "kernel", Verdict.BAD, scene.boot, said)


def look_at_boots(scene: Scene) -> Iterator[Sight]:
    count = sum(scene.at - began <= DAY for began in scene.host.machine.boots)
    yield from compare(
        BOOTS,
        "host",
        scene.host.machine.sample,
        count,
        limit=scene.limit(BOOTS, "a_day"),
        says=lambda times: f"booted {times:.0f} times within a day",
    )


def needs_panic(scene: Scene) -> str:
    return find_absence(scene, scene.host.machine.panics, may_be_denied=True)


def needs_crash(scene: Scene) -> str:
    return find_absence(scene, scene.host.machine.crashed, may_be_denied=True)


def needs_boots(scene: Scene) -> str:
    return find_absence(scene) or ("" if scene.host.machine.boots else "no history of boots is kept here")


CHECKS = (
    Check(PANIC, (PANIC,), look_for_panic, needs=needs_panic, every=EVERY),
    Check(CRASH, (CRASH,), look_for_crash, needs=needs_crash, every=EVERY),
    Check(BOOTS, (BOOTS,), look_at_boots, needs=needs_boots, every=EVERY),
)
