"""The GPU driver's set: what its gate saw at this boot, and whether the server went back to another one by itself."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.drivers.boots import Outcome, Stage
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, find_absence, see_unread
from dsops.node.sources.driver import Driver
from dsops.node.sources.unread import Unread

GATE, LEFT = "driver.gate", "driver.left"
ENTITY = "driver"


def look_at_driver(scene: Scene) -> Iterator[Sight]:
    driver, sample = scene.host.machine.driver, scene.host.machine.sample
    if isinstance(driver, Unread):
        yield see_unread(GATE, ENTITY, sample, driver)
        return
    if driver.left:
        yield Sight(LEFT, ENTITY, Verdict.BAD, sample, driver.left)
    else:
        yield Sight(LEFT, ENTITY, Verdict.OK, sample)
    yield from _look_at_gate(scene, driver, sample)


def _look_at_gate(scene: Scene, driver: Driver, sample: str) -> Iterator[Sight]:
    outcome = driver.outcome if driver.judged == scene.boot else None
    if driver.stage is Stage.HALTED or outcome is Outcome.FAILED:
        yield Sight(GATE, ENTITY, Verdict.BAD, sample, driver.says)
    elif outcome is Outcome.UNKNOWN:
        yield see_unread(GATE, ENTITY, sample, Unread(f"no verdict on this boot: {driver.says}"))
    elif outcome or driver.seen == scene.boot:
        # Changed or cleared in this boot: what failed before is no longer there, and the next boot judges the rest.
        yield Sight(GATE, ENTITY, Verdict.OK, sample)
    elif scene.ticks > scene.limit(GATE, "patience_seconds"):  # the monotonic clock begins with the boot
        yield see_unread(GATE, ENTITY, sample, Unread(f"the gate has not judged this boot: {driver.says}"))


def needs_driver(scene: Scene) -> str:
    return find_absence(scene, scene.host.machine.driver, in_container=True)


CHECK = Check(ENTITY, (GATE, LEFT), look_at_driver, needs=needs_driver, every=EVERY)
