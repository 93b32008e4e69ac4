"""The clock follows no time server, though one is configured: certificates, leases and logs go by it."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence, see_unread
from dsops.node.sources.unread import Unread

CODE = "host.clock"


def look(scene: Scene) -> Iterator[Sight]:
    clock, sample = scene.host.machine.clock, scene.host.machine.sample
    if isinstance(clock, Unread):
        yield see_unread(CODE, "clock", sample, clock)
    elif not clock.is_followed:
        yield Sight(CODE, "clock", Verdict.BAD, sample, "the clock follows no time server")
    elif clock.age_seconds > (limit := scene.limit(CODE, "silent_seconds")):
        said = f"no time server was heard for {clock.age_seconds / 3600:.1f} h"
        yield Sight(CODE, "clock", Verdict.BAD, sample, said, clock.age_seconds, limit)
    else:
        yield from compare(
            CODE,
            "clock",
            sample,
            clock.error_seconds,
            limit=scene.limit(CODE, "seconds"),
            says=lambda seconds: f"the clock is off by up to {seconds:.1f} s",
        )


def needs(scene: Scene) -> str:
    return find_absence(scene, scene.host.machine.clock, may_be_denied=True)


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
