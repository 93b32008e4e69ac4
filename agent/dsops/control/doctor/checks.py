"""What the agents' own checks say: rows for a table, and findings for the exit status.

A node whose agent does not answer, or saw nothing of late, is UNKNOWN: silence is no proof that all is well.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dsops.control.doctor.finding import Finding, Status, ok, problem, skipped, unknown, warning
from dsops.control.doctor.view import STYLES
from dsops.control.fleet.http import read_checks
from dsops.control.fleet.inventory import Server
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.core.checklist import Checklist, CheckSeen, Item
from dsops.core.errors import DsopsError
from dsops.core.maintenance import render_time
from dsops.core.status import Measure, Verdict

SECONDS = 3.0
# What was seen longer ago is no news; clocks may differ by less.
OLD_SECONDS = 60.0
# Nobody reads the digits behind the point of so many bytes.
BIG = 100_000
ORDER = (Status.SKIPPED, Status.OK, Status.WARNING, Status.UNKNOWN, Status.PROBLEM)
WORDS = {Status.PROBLEM: "BAD", Status.WARNING: "BAD", Status.UNKNOWN: "UNKNOWN", Status.OK: "OK"}
COLUMNS = ("verdict", "check", "entity", "value", "threshold", "reason")
Told = Outcome[Checklist]


@dataclass(frozen=True)
class Row:
    """One line of the table, and how it counts."""

    node: str
    status: Status
    check: str
    entity: str = ""
    value: str = ""
    limit: str = ""
    reason: str = ""
    mend: str = ""

    @property
    def verdict(self) -> str:
        """As the checks call it."""
        return WORDS.get(self.status, "SKIPPED")

    def to_finding(self) -> Finding:
        """As a deploy's doctor says it."""
        where = self.node
        what = " ".join(part for part in (f"{self.entity}:" if self.entity else "", self.reason) if part)
        make: dict[Status, Callable[[], Finding]] = {
            Status.PROBLEM: lambda: problem(self.check, where, what, mend=self.mend),
            Status.WARNING: lambda: warning(self.check, where, what, mend=self.mend),
            Status.UNKNOWN: lambda: unknown(self.check, where, what, mend=self.mend),
            Status.SKIPPED: lambda: skipped(self.check, where, what),
            Status.OK: lambda: ok(self.check, where, what),
        }
        return make[self.status]()


def ask_checks(servers: Sequence[Server]) -> list[Told]:
    """All agents at once."""
    return ask_all(servers, lambda server: read_checks(server, timeout=SECONDS), deadline=SECONDS + 0.2)


def find_rows(told: Iterable[Told], *, now: Callable[[], float] = time.time) -> list[Row]:
    """Every check of every node; what is wrong last: it stands where the eye is when the command ends."""
    rows = [row for one in told for row in _find_rows(one, now=now())]
    return sorted(rows, key=lambda row: ORDER.index(row.status))


def _find_rows(told: Told, *, now: float) -> list[Row]:
    node, seen = told.server.name, told.value
    if seen is None:
        error = told.error or DsopsError("no answer")
        reason = f"its agent does not answer ({error.what}): nothing is known of it"
        return [Row(node, Status.UNKNOWN, "agent", reason=reason, mend=error.mend)]
    rows = [row for check in seen.checks for row in _find_check(node, check)]
    if abs(now - seen.at) > OLD_SECONDS:
        reason = f"its agent looked last at {render_time(seen.at)}, by its clock"
        mend = f"`dsops logs {node} --unit dsops-agent`; is its clock right?"
        rows.append(Row(node, Status.UNKNOWN, "agent", reason=reason, mend=mend))
    return rows


def _find_check(node: str, check: CheckSeen) -> list[Row]:
    if check.skipped:
        return [Row(node, Status.SKIPPED, check.name, reason=check.skipped)]
    if check.at is None:
        return [Row(node, Status.UNKNOWN, check.name, reason="it has not looked yet", mend="ask again in a minute")]
    if not check.items:
        return [Row(node, Status.OK, check.name, reason="nothing to say")]
    return [_make_row(node, item) for item in check.items]


def _make_row(node: str, item: Item) -> Row:
    reason = "; ".join(part for part in (item.reason, _tell_more(item), item.held) if part)
    mend = item.mend.replace("NODE", node)
    return Row(node, _judge(item), item.code, item.entity, _render(item.value), _render(item.limit), reason, mend)


def _judge(item: Item) -> Status:
    """What asks for nothing, or was not seen often enough to count, is no problem yet."""
    if item.is_finding:
        return Status.WARNING if item.measure is Measure.NONE else Status.PROBLEM
    return {Verdict.OK: Status.OK, Verdict.BAD: Status.WARNING, Verdict.UNKNOWN: Status.UNKNOWN}[item.verdict]


def _tell_more(item: Item) -> str:
    """Since when it is a finding, and what it asks for; or how much is missing to one."""
    if not item.is_finding:
        return f"seen {item.streak} of {item.needed} times" if item.verdict is Verdict.BAD else ""
    over = ", latched" if item.verdict is Verdict.OK else ""
    since = f" since {render_time(item.since)}" if item.since is not None else ""
    return f"asks for {item.measure}{since}{over}"


def _render(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value.is_integer() or abs(value) >= BIG else f"{value:.4g}"


def render_checks(rows: Sequence[Row], told: Sequence[Told], *, shows_all: bool) -> RenderableType:
    """A table of what is wrong, or of all; what is maintained; a line that counts the rest."""
    names = [one.server.name for one in told]
    columns = (*(("node",) if len(names) > 1 else ()), *COLUMNS)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in ("value", "threshold") else "left")
    shown = [row for row in rows if shows_all or row.status not in (Status.OK, Status.SKIPPED)]
    for row in shown:
        text = Text(row.reason)
        text.append(f"\nmend: {row.mend}" if row.mend else "", "bold")
        words: list[RenderableType] = [
            Text(row.verdict, STYLES[row.status]),
            row.check,
            row.entity,
            row.value,
            row.limit,
            text,
        ]
        table.add_row(*([row.node] if len(names) > 1 else []), *words)
    notes = [
        Text(f"{one.server.name}: {one.value.maintenance.describe()}", "cyan")
        for one in told
        if one.value and one.value.maintenance
    ]
    title = Text(f"checks of {', '.join(names)}", "bold")
    return Group(title, *([table] if shown else []), *notes, Text(summarize(rows, shows_all=shows_all), "bold"))


def summarize(rows: Sequence[Row], *, shows_all: bool) -> str:
    """One line: how many of what."""
    words = [row.verdict for row in rows]
    parts = [f"{words.count(word)} {word}" for word in ("OK", "SKIPPED", "UNKNOWN", "BAD") if words.count(word)]
    hidden = 0 if shows_all else sum(word in ("OK", "SKIPPED") for word in words)
    return f"{', '.join(parts)}." + (f" --all shows {hidden} more." if hidden else "")


def checks_to_data(told: Sequence[Told]) -> list[dict[str, Any]]:
    """As the agents told them; null for one that did not answer."""
    return [
        {"node": one.server.name, "reason": one.reason, "checks": asdict(one.value) if one.value else None}
        for one in told
    ]
