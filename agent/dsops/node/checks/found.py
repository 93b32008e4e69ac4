"""What a check makes of one thing that it looked at, and how that becomes a sight."""

from dataclasses import dataclass

from dsops.core.checks import Sight
from dsops.core.status import Measure, Verdict


class Missing(Exception):
    """What is asked is not offered here, or cannot be said yet: there is nothing to see."""


class Unreadable(Exception):
    """Why it could not be read."""


@dataclass(frozen=True)
class Found:
    """What a check makes of one entity. value and limit as `reason` tells them."""

    is_bad: bool
    reason: str
    value: float | None = None
    limit: float | None = None
    measure: Measure | None = None
    mend: str = ""


def make_sight(code: str, entity: str, sample: str, found: Found) -> Sight:
    verdict = Verdict.BAD if found.is_bad else Verdict.OK
    return Sight(code, entity, verdict, sample, found.reason, found.value, found.limit, found.measure, found.mend)
