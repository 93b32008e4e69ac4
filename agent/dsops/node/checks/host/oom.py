"""The kernel ended a process since memory was short, as its counter tells; its log, where it can be read, says whom."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, find_absence, see_unread
from dsops.node.sources.counters import KEEP_SECONDS
from dsops.node.sources.unread import Unread

CODE, COUNTER = "host.oom", "oom_kill"


def look(scene: Scene) -> Iterator[Sight]:
    """Its name is the counter's height, so that one kill is told once."""
    counters = scene.host.machine.counters
    grown = counters.grown(COUNTER, KEEP_SECONDS)
    if isinstance(grown, Unread):
        yield see_unread(CODE, "host", scene.host.machine.sample, grown)
    elif grown:
        total = counters.samples[-1][1][COUNTER]
        yield Sight(CODE, "host", Verdict.BAD, f"{total}", "the kernel ended a process for want of memory", grown)


def needs(scene: Scene) -> str:
    absence = find_absence(scene)
    if absence or scene.host.machine.counters.list_names(COUNTER):
        return absence
    return "this kernel does not count them"


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
