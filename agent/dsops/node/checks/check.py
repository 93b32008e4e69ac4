"""What a check is, and what it looks at."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dsops.core.checks import Sight
from dsops.core.status import Slot, Verdict
from dsops.node.sources.gpu_counters import GpuCounters
from dsops.node.sources.gpus import Reading, Sweep
from dsops.node.sources.machine import HostSeen
from dsops.node.sources.serving import ServingSeen

BROKEN = "check.broken"


@dataclass(frozen=True)
class Scene:
    """All that was sampled. at: Unix seconds. ticks: of the monotonic clock. boot: the boot's id.

    gpus: the last sweep, gpus_sample its name; gpu_counters: what all sweeps counted. slots: where releases run.
    limits: code -> name -> threshold, from the tables and the site's own file. baseline: (entity, key) -> what was
    normal here when the server was commissioned; empty where nobody said. host: the machine itself, and systemd.
    serving: how the releases in the slots serve.
    """

    at: float
    ticks: float
    boot: str
    gpus: Reading = field(default_factory=lambda: Reading(Sweep.PENDING))
    gpus_sample: str = ""
    expected_gpus: int | None = None
    gpu_counters: GpuCounters = field(default_factory=GpuCounters)
    slots: tuple[Slot, ...] = ()
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    baseline: Mapping[tuple[str, str], float] = field(default_factory=dict)
    host: HostSeen = field(default_factory=HostSeen)
    serving: ServingSeen = field(default_factory=ServingSeen)

    def limit(self, code: str, name: str) -> float:
        """A threshold; every one that a check asks for stands in a table."""
        return self.limits[code][name]


@dataclass(frozen=True)
class Check:
    """name: what its codes begin with. codes: all that it may say. every: seconds from one look to the next; 0: each
    sample.

    needs: why it does not apply here, "" when it does. look: what is to be seen; nothing for what is not there.
    normal: what `dsops baseline` freezes, (entity, key) -> how it is now; it comes back as `scene.baseline`.
    """

    name: str
    codes: tuple[str, ...]
    look: Callable[[Scene], Iterable[Sight]]
    needs: Callable[[Scene], str] = lambda _: ""
    every: float = 0.0
    normal: Callable[[Scene], Mapping[tuple[str, str], float]] | None = None


@dataclass(frozen=True)
class Outcome:
    """skipped: name of a check -> why it does not apply here."""

    sights: tuple[Sight, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)


def look(checks: Iterable[Check], scene: Scene) -> Outcome:
    """Every check once. One that breaks is seen as that, and stops no other."""
    sights: list[Sight] = []
    skipped: dict[str, str] = {}
    for check in checks:
        try:
            if reason := check.needs(scene):
                skipped[check.name] = reason
                continue
            sights += check.look(scene)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            sights.append(Sight(BROKEN, check.name, Verdict.BAD, sample=f"{scene.ticks:.3f}", reason=said))
        else:
            sights.append(Sight(BROKEN, check.name, Verdict.OK, sample=f"{scene.ticks:.3f}"))
    return Outcome(tuple(sights), skipped)
