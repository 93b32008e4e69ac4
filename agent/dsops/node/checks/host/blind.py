"""/proc, /sys or a file system does not answer: what is known of the host is old."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import NOT_YET

CODE = "host.blind"


def look(scene: Scene) -> Iterator[Sight]:
    """Whoever reads them tells; each look is one of its own, since nothing new was read."""
    host = scene.host
    for entity, part in (("/proc and /sys", host.machine), ("file systems", host.storage)):
        if part.reason or part.sample:
            verdict = Verdict.UNKNOWN if part.reason else Verdict.OK
            yield Sight(CODE, entity, verdict, f"{scene.ticks:.3f}", part.reason)


def find_absence(scene: Scene) -> str:
    host = scene.host
    is_any = host.machine.sample or host.machine.reason or host.storage.sample or host.storage.reason
    return "" if is_any else NOT_YET


CHECK = Check(CODE, (CODE,), look, needs=find_absence)
