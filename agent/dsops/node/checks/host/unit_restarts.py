"""systemd starts an engine again and again."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY
from dsops.node.sources.units import Unit
from dsops.node.sources.unread import Unread

CODE = "unit.restarts"
WITHIN = 1200.0
UNKNOWN = "unknown"


def look(scene: Scene) -> Iterator[Sight]:
    """Starts that somebody asked for are not counted by systemd."""
    sample, limit = f"{scene.ticks:.3f}", scene.limit(CODE, "times")
    for name, unit in scene.host.units.items():
        grown = scene.host.restarts.grown(name, WITHIN)
        if unit.active == UNKNOWN or isinstance(grown, Unread):
            yield Sight(CODE, name, Verdict.UNKNOWN, sample, unit.says)
        elif grown is not None:
            is_bad = grown >= limit and not _runs_since(unit, scene)
            reason = f"systemd started it {grown} times again within 20 min" if is_bad else ""
            yield Sight(CODE, name, Verdict.BAD if is_bad else Verdict.OK, sample, reason, float(grown), limit)


def _runs_since(unit: Unit, scene: Scene) -> bool:
    """One that runs for a while is well again."""
    age = scene.ticks - unit.started
    return unit.is_running and unit.started > 0 and age >= scene.limit(CODE, "runs_seconds")


def needs(scene: Scene) -> str:
    return "" if scene.host.units else "a server without slots"


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
