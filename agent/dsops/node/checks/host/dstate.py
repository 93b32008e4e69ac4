"""The GPUs' driver or Triton waits in the kernel and cannot even be killed."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, find_absence, see_unread
from dsops.node.sources.unread import Unread

CODE = "host.dstate"


def look(scene: Scene) -> Iterator[Sight]:
    """All of them are one entity: one that ends must not stay for ever."""
    stuck, sample = scene.host.machine.stuck, scene.host.machine.sample
    if isinstance(stuck, Unread):
        yield see_unread(CODE, "processes", sample, stuck)
        return
    reason = f"waits in the kernel: {', '.join(stuck)}" if stuck else ""
    yield Sight(CODE, "processes", Verdict.BAD if stuck else Verdict.OK, sample, reason, float(len(stuck)), 0.0)


def needs(scene: Scene) -> str:
    return find_absence(scene, scene.host.machine.stuck, in_container=True, may_be_denied=True)


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
