"""What each check saw last, for whoever asks: nothing is looked at again for that."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from dsops.core.baseline import Number
from dsops.core.checklist import CheckSeen, Item
from dsops.core.checks import Kind, Rule, Sight
from dsops.core.ledger import Ledger, Line
from dsops.core.maintenance import Maintenance
from dsops.core.status import Verdict
from dsops.node.checks.check import BROKEN, Check, Outcome, Scene
from dsops.node.checks.rules import Rules

log = logging.getLogger("dsops.agent")
KERNEL = "kernel"
NO_KERNEL = "this server has no kernel of its own, or its configuration names no kernel log"


@dataclass(frozen=True)
class _Look:
    """at: Unix seconds."""

    at: float
    sights: tuple[Sight, ...]
    skipped: str
    normal: Mapping[tuple[str, str], float]


class Board:
    """One per checkup. read_at: when the kernel's log was read last, Unix seconds; None where it is not."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.read_at: float | None = None
        self._checks = checks
        self._looks: dict[str, _Look] = {}
        self._broken: set[str] = set()

    def take(self, due: Iterable[Check], outcome: Outcome, scene: Scene) -> None:
        """What was just seen replaces what the same checks saw before: an entity that went is not shown for ever."""
        for check in due:
            sights = tuple(one for one in outcome.sights if _is_of(one, check))
            normal = self._find_normal(check, scene)
            self._looks[check.name] = _Look(scene.at, sights, outcome.skipped.get(check.name, ""), normal)

    def find_normal(self) -> tuple[Number, ...]:
        """What is so now, of all checks that say what is normal."""
        found = {key: value for look in self._looks.values() for key, value in look.normal.items()}
        return tuple(Number(*key, value) for key, value in sorted(found.items()))

    def render(
        self, ledger: Ledger, rules: Rules, *, wall: float, maintenance: Maintenance | None = None
    ) -> tuple[CheckSeen, ...]:
        """Every check with what it saw last, and at the end what the kernel's log said."""
        shown = [self._render(one, ledger, rules, wall=wall, maintenance=maintenance) for one in self._checks]
        claimed = {code for one in self._checks for code in one.codes} | {BROKEN}
        codes = tuple(code for code in rules.rules if code not in claimed)
        lines = [line for line in ledger.lines.values() if line.code in codes and _is_told(line)]
        items = tuple(_make_item(line, None, rules, wall=wall, maintenance=maintenance) for line in lines)
        skipped = "" if self.read_at is not None else NO_KERNEL
        return (*shown, CheckSeen(KERNEL, codes, self.read_at, skipped, items))

    def _render(
        self, check: Check, ledger: Ledger, rules: Rules, *, wall: float, maintenance: Maintenance | None
    ) -> CheckSeen:
        look = self._looks.get(check.name)
        if look is None:
            return CheckSeen(check.name, check.codes)
        sights = {(one.code, one.entity): one for one in look.sights}
        kept = [key for key, line in ledger.lines.items() if line.failed is not None and line.code in check.codes]
        items = tuple(
            _make_item(ledger.lines.get(key) or Line(*key), sights.get(key), rules, wall=wall, maintenance=maintenance)
            for key in dict.fromkeys((*sights, *kept))
        )
        return CheckSeen(check.name, check.codes, look.at, look.skipped, items)

    def _find_normal(self, check: Check, scene: Scene) -> Mapping[tuple[str, str], float]:
        """Also where the check is skipped: many of them want a baseline first."""
        if check.normal is None:
            return {}
        try:
            return {key: float(value) for key, value in check.normal(scene).items() if isfinite(value)}
        except Exception:
            if check.name not in self._broken:
                log.exception("check %s cannot say what is normal: a bug in dsops", check.name)
            self._broken.add(check.name)
            return {}


def _is_of(sight: Sight, check: Check) -> bool:
    """That a check did not break is no news."""
    if sight.code == BROKEN:
        return sight.entity == check.name and sight.verdict is not Verdict.OK
    return sight.code in check.codes


def _is_told(line: Line) -> bool:
    """Of what the kernel says only what counts now; of its log itself also that it can be read."""
    return line.failed is not None or line.code.startswith(f"{KERNEL}.")


def _make_item(line: Line, sight: Sight | None, rules: Rules, *, wall: float, maintenance: Maintenance | None) -> Item:
    rule = rules.rules[line.code]
    seen = sight or _recall(line, rule)
    is_bad = line.failed is not None or seen.verdict is Verdict.BAD
    times = line.count(rule.again_seconds, wall=wall)
    return Item(
        line.code,
        line.entity,
        verdict=seen.verdict,
        value=_find_finite(seen.value),
        limit=_find_finite(seen.limit),
        reason=seen.reason or (line.reason if is_bad else ""),
        mend=(seen.mend or line.mend or rule.mend) if seen.verdict is not Verdict.OK or is_bad else "",
        measure=rule.find_measure(times, seen.measure or line.measure),
        blame=rule.blame,
        since=line.at if line.failed is not None else None,
        streak=line.streak,
        needed=rule.samples,
        source=rule.source,
        held=maintenance.describe() if maintenance and is_bad and maintenance.covers(line.code) else "",
    )


def _recall(line: Line, rule: Rule) -> Sight:
    """What nobody sees with this look, or what happened once: as the ledger has it."""
    is_over = rule.kind is Kind.EVENT and line.failed is None
    verdict = Verdict.BAD if line.failed is not None else Verdict.OK if is_over else line.verdict
    said = (line.reason, line.value, line.limit, line.measure, line.mend)
    return Sight(line.code, line.entity, verdict, line.sample, *said)


def _find_finite(value: float | None) -> float | None:
    """JSON has no word for the others."""
    return value if value is not None and isfinite(value) else None
