"""What a check sees, by which rule it counts, and what it asks for. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from dsops.core.maintenance import Maintenance
from dsops.core.status import Blame, Condition, Finding, Measure, Verdict

# What begins with traffic going away.
DRAINS = (Measure.DRAIN, Measure.RESET, Measure.REBOOT, Measure.REPLACE)
ORDER = tuple(Measure)


class Kind(StrEnum):
    """state: something that is so or is not, seen again with every sample. event: something that happened once."""

    STATE = "state"
    EVENT = "event"


@dataclass(frozen=True)
class Rule:
    """How what is seen under one code becomes a finding. Seconds are of the monotonic clock.

    samples, seconds: so many independent BAD samples, and so long from the first to the last. clear_samples,
    clear_seconds: the same of OK ones, before it is over. latched: over only with the next boot, or when a person says
    so. hold_seconds: how long an event counts that is not latched. again: what is asked for instead from the
    again_count-th time within again_seconds on. hides: codes (with *) that it explains, on the same entity; wide: on
    all. alert_only: seen and told, nothing is done; for checks that are new.
    excuses: whether it can be why an engine fails, so that no release is blamed; None: when it asks for more than an
    alert. What is wrong all the time, such as a worn memory of settings, must excuse nothing: no bad release would ever
    be rolled back.
    blind: what it finds is that nobody can see; told at once, as UNKNOWN, and never acted upon.
    source: where the threshold comes from.
    """

    code: str
    blame: Blame
    measure: Measure
    mend: str
    source: str
    kind: Kind = Kind.STATE
    samples: int = 1
    seconds: float = 0.0
    clear_samples: int = 2
    clear_seconds: float = 30.0
    latched: bool = False
    hold_seconds: float = 3600.0
    again: Measure | None = None
    again_count: int = 2
    again_seconds: float = 86400.0
    hides: tuple[str, ...] = ()
    wide: bool = False
    alert_only: bool = False
    excuses: bool | None = None
    blind: bool = False

    def find_measure(self, times: int, wanted: Measure | None = None) -> Measure:
        """What is asked for when it happened so often. wanted: by what was seen, such as the driver's own verdict."""
        measure = wanted or self.measure
        if self.again and times >= self.again_count:
            measure = max(measure, self.again, key=ORDER.index)
        return min(measure, Measure.ALERT, key=ORDER.index) if self.alert_only else measure

    def find_excuse(self, measure: Measure) -> bool:
        """Whether a finding of it excuses a release, when this is asked for."""
        if self.alert_only:
            return False
        return measure not in (Measure.NONE, Measure.ALERT) if self.excuses is None else self.excuses


@dataclass(frozen=True)
class Sight:
    """One look at one entity, such as `gpu3`. sample: the name of its reading: two looks at one reading are one.

    value and limit in the unit that `reason` tells; None where there is none. measure: instead of the rule's. mend:
    likewise.
    """

    code: str
    entity: str
    verdict: Verdict
    sample: str
    reason: str = ""
    value: float | None = None
    limit: float | None = None
    measure: Measure | None = None
    mend: str = ""


def find_condition(measure: Measure) -> Condition:
    """What a finding makes of the node follows from what it asks for: never a fatal one that nobody acts upon."""
    if measure is Measure.NONE:
        return Condition.OK
    return Condition.FAILED if measure in DRAINS else Condition.DEGRADED


def hold(findings: Iterable[Finding], maintenance: Maintenance | None) -> tuple[Finding, ...]:
    """As whoever acts is told of them: during maintenance, what it covers asks for no more than an alert."""
    return tuple(
        replace(one, measure=min(one.measure, Measure.ALERT, key=ORDER.index))
        if maintenance and maintenance.covers(one.code)
        else one
        for one in findings
    )


def find_drain(findings: Iterable[Finding]) -> Finding | None:
    """The worst one for which this server should have no traffic."""
    order = list(DRAINS)
    asking = [one for one in findings if one.measure in DRAINS and one.status is Verdict.BAD]
    return max(asking, key=lambda one: order.index(one.measure), default=None)
