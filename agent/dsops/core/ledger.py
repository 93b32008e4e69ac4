"""What was seen, sample by sample, and since when it is a finding: damping, latches, causes before their effects. Pure.

Two samples of one reading are one. UNKNOWN neither adds nor clears: what cannot be read is no proof of anything.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from dsops.core.checks import ORDER, Kind, Rule, Sight, find_condition
from dsops.core.decode import decode
from dsops.core.status import Condition, Finding, Measure, Verdict

HOUR = 3600.0
# So often within an hour, and it stays a finding until it was well for a whole hour.
FLAPS = 3
# The same event on the same entity within so short a time is one: drivers repeat themselves.
SAME_SECONDS = 5.0
# What could not be read for so long is told.
BLIND_SECONDS = 60.0
FALLS_KEPT = 16
# The entity of what is said of all GPUs together: one of them explains it too.
GPUS = "gpus"


@dataclass(frozen=True)
class Line:
    """One code on one entity. Times in seconds of the monotonic clock; at and falls outlive a boot: Unix seconds.

    streak, began: BAD samples since it was last well. clears, cleared: OK samples since it last was not. failed, at:
    since when it is a finding; of an event, when it happened last. falls: when it became one, or happened, in order.
    """

    code: str
    entity: str
    sample: str = ""
    verdict: Verdict = Verdict.UNKNOWN
    streak: int = 0
    began: float = 0.0
    clears: int = 0
    cleared: float = 0.0
    failed: float | None = None
    at: float | None = None
    falls: tuple[float, ...] = ()
    unknown_since: float | None = None
    reason: str = ""
    value: float | None = None
    limit: float | None = None
    measure: Measure | None = None
    mend: str = ""

    def count(self, seconds: float, *, wall: float) -> int:
        """How often it happened within so long a time."""
        return sum(wall - at <= seconds for at in self.falls)

    def is_flapping(self, wall: float) -> bool:
        """Whether it came and went too often to be believed that it is over."""
        return self.count(HOUR, wall=wall) >= FLAPS


def advance(line: Line, sight: Sight, rule: Rule, *, now: float, wall: float) -> Line:
    """With one more look."""
    if sight.sample == line.sample:
        return line
    line = replace(line, sample=sight.sample)
    if sight.verdict is Verdict.UNKNOWN:
        since = now if line.unknown_since is None else line.unknown_since
        reason = line.reason if line.failed is not None else sight.reason
        return replace(line, verdict=Verdict.UNKNOWN, unknown_since=since, reason=reason)
    line = replace(line, verdict=sight.verdict, unknown_since=None)
    if sight.verdict is Verdict.OK:
        return _clear(line, rule, now=now, wall=wall) if rule.kind is Kind.STATE else line
    line = replace(line, reason=sight.reason, value=sight.value, limit=sight.limit, mend=sight.mend)
    if rule.kind is Kind.EVENT:
        return _happen(line, sight, now=now, wall=wall)
    return _add(replace(line, measure=sight.measure), rule, now=now, wall=wall)


def _add(line: Line, rule: Rule, *, now: float, wall: float) -> Line:
    began = line.began if line.streak else now
    line = replace(line, streak=line.streak + 1, began=began, clears=0)
    if line.failed is not None or line.streak < rule.samples or now - began < rule.seconds:
        return line
    return replace(line, failed=now, at=wall, falls=(*line.falls, wall)[-FALLS_KEPT:])


def _happen(line: Line, sight: Sight, *, now: float, wall: float) -> Line:
    if line.failed is not None and now - line.failed < SAME_SECONDS:
        return line
    falls = (*line.falls, wall)[-FALLS_KEPT:]
    at = wall if line.at is None else line.at
    return replace(line, failed=now, at=at, falls=falls, measure=sight.measure)


def _clear(line: Line, rule: Rule, *, now: float, wall: float) -> Line:
    if line.failed is None:
        return replace(line, streak=0, reason="")
    cleared = line.cleared if line.clears else now
    line = replace(line, clears=line.clears + 1, cleared=cleared)
    seconds = HOUR if line.is_flapping(wall) else rule.clear_seconds
    if rule.latched or line.clears < rule.clear_samples or now - cleared < seconds:
        return line
    return forget(line)


def forget(line: Line) -> Line:
    """It is over; how often it happened is kept."""
    return Line(line.code, line.entity, sample=line.sample, verdict=line.verdict, falls=line.falls)


def _keep_later(line: Line, *, until: float) -> Line | None:
    """What is left of it when all up to a moment is forgotten (Unix seconds)."""
    falls = tuple(at for at in line.falls if at > until)
    return replace(line, falls=falls, at=line.at and falls[0]) if falls else None


@dataclass
class Ledger:
    """boot: its id; whatever was seen in another one does not count any more. changes: findings that came, came again
    or went, since it was made."""

    boot: str = ""
    lines: dict[tuple[str, str], Line] = field(default_factory=dict)
    changes: int = field(default=0, compare=False)

    def begin(self, boot: str) -> None:
        """In a new boot nothing is wrong yet; how often it was is remembered."""
        if boot != self.boot:
            self.boot = boot
            self.lines = {key: Line(*key, falls=line.falls) for key, line in self.lines.items() if line.falls}

    def take(self, sights: Iterable[Sight], rules: Mapping[str, Rule], *, now: float, wall: float) -> None:
        """One sample. A sight whose code has no rule is a mistake, and raises KeyError."""
        for sight in sights:
            key = (sight.code, sight.entity)
            line = self.lines.get(key) or Line(*key)
            self._put(advance(line, sight, rules[sight.code], now=now, wall=wall))

    def expire(self, rules: Mapping[str, Rule], *, now: float) -> None:
        """Events that are old enough are over."""
        for line in list(self.lines.values()):
            rule = rules.get(line.code)
            if rule is None or rule.kind is not Kind.EVENT or rule.latched or line.failed is None:
                continue
            if now - line.failed >= rule.hold_seconds:
                self._put(forget(line))

    def _put(self, line: Line) -> None:
        key = (line.code, line.entity)
        before = self.lines.get(key) or Line(*key)
        self.changes += (before.failed, before.falls) != (line.failed, line.falls)
        self.lines[key] = line

    def clear(self, *, until: float = math.inf) -> None:
        """A person says that all of it was looked at: nothing is counted from before; what goes on is found again.

        until: Unix seconds of that word. What was found since then, before it was heard here, nobody looked at.
        """
        self.changes += 1
        self.lines = {key: later for key, line in self.lines.items() if (later := _keep_later(line, until=until))}

    def find(self, rules: Mapping[str, Rule], *, now: float, wall: float) -> tuple[Finding, ...]:
        """What is wrong now: the worst first; what another finding explains is left out."""
        failed = [line for line in self.lines.values() if line.failed is not None and line.code in rules]
        blind = [
            _report_blind(line, rules[line.code], f"cannot be read: {line.reason}")
            for line in self.lines.values()
            if line.failed is None and line.code in rules and _is_blind(line, now=now)
        ]
        causes = [_report(line, rules[line.code], wall=wall) for line in failed]
        shown = [one for one in (*causes, *blind) if not is_hidden(one, causes, rules)]
        return tuple(sorted(shown, key=lambda one: (one.status is Verdict.UNKNOWN, -ORDER.index(one.measure))))

    def to_data(self) -> dict[str, Any]:
        """Plain data that `from_data` reads."""
        return {"boot": self.boot, "lines": [asdict(line) for line in self.lines.values()]}

    @staticmethod
    def from_data(data: object) -> "Ledger":
        """Raises DsopsError when that is no ledger of this version."""
        kept = decode(_Kept, data, where="ledger")
        return Ledger(kept.boot, {(line.code, line.entity): line for line in kept.lines})


@dataclass(frozen=True)
class _Kept:
    boot: str
    lines: tuple[Line, ...] = ()


def is_hidden(one: Finding, causes: Iterable[Finding], rules: Mapping[str, Rule]) -> bool:
    """Whether another finding is why, and asks for as much at least."""
    return any(_explains(cause, one, rules[cause.code]) for cause in causes if cause is not one)


def _explains(cause: Finding, one: Finding, rule: Rule) -> bool:
    is_named = any(fnmatchcase(one.code, pattern) for pattern in rule.hides)
    asks_enough = ORDER.index(cause.measure) >= ORDER.index(one.measure) or one.status is Verdict.UNKNOWN
    is_shared = cause.entity == one.entity or (one.entity == GPUS and cause.entity.startswith("gpu"))
    return is_named and asks_enough and (rule.wide or is_shared)


def _is_blind(line: Line, *, now: float) -> bool:
    return line.unknown_since is not None and now - line.unknown_since >= BLIND_SECONDS


def _report(line: Line, rule: Rule, *, wall: float) -> Finding:
    if rule.blind:
        return _report_blind(line, rule, line.reason)
    measure = rule.find_measure(line.count(rule.again_seconds, wall=wall), line.measure)
    condition, mend = find_condition(measure), line.mend or rule.mend
    reason = line.reason if rule.kind is Kind.STATE else _tell_times(line, rule, wall=wall)
    excuses = rule.find_excuse(measure)
    return Finding(line.entity, line.code, Verdict.BAD, rule.blame, condition, reason, mend, measure, line.at, excuses)


def _tell_times(line: Line, rule: Rule, *, wall: float) -> str:
    times = line.count(rule.again_seconds, wall=wall)
    return line.reason if times < 2 else f"{line.reason} ({times} times within {rule.again_seconds / HOUR:g} h)"


def _report_blind(line: Line, rule: Rule, says: str) -> Finding:
    """What nobody can read may be broken: it causes no act, and it excuses as what it would tell does."""
    return Finding(
        line.entity,
        line.code,
        Verdict.UNKNOWN,
        rule.blame,
        Condition.BLIND,
        says,
        line.mend or rule.mend,
        since=line.at,
        excuses=rule.find_excuse(rule.measure),
    )
