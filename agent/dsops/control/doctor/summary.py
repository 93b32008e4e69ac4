"""What was found, in fewer words: equal findings of several servers as one row, a line for all, and JSON; pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dsops.control.doctor.finding import Finding, Status, count, decide_exit

ORDER = (Status.OK, Status.SKIPPED, Status.WARNING, Status.UNKNOWN, Status.PROBLEM)
# More names, or more different answers, than fit a table: the rest is in --json.
NAMES, ANSWERS = 6, 3
VERDICTS = (
    "Nothing stands in the way of a deploy.",
    "Mend the problems before you deploy.",
    "Not all could be looked at.",
)
Row = tuple[Status, str, str, tuple[str, ...], str]


def merge(findings: Sequence[Finding], *, servers: Sequence[str]) -> list[Row]:
    """One row for what several servers have in common; the well ones share a row a check."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        own = (finding.where in servers) or (finding.what, finding.mend, finding.where)
        alike = own if finding.status is Status.OK else (finding.what, finding.mend)
        groups.setdefault((finding.status, finding.check, alike), []).append(finding)
    rows = [_row(group, servers=servers) for group in groups.values()]
    return sorted(rows, key=lambda row: ORDER.index(row[0]))


def _row(group: list[Finding], *, servers: Sequence[str]) -> Row:
    first = group[0]
    answers: dict[str, list[str]] = {}
    for finding in group:
        answers.setdefault(finding.what, []).append(finding.where)
    if len(answers) == 1:
        lines = [first.what]
    else:
        shown = list(answers.items())[:ANSWERS]
        lines = [f"{render_names(names, servers=servers)}: {what}" for what, names in shown]
        lines += [f"and {len(answers) - ANSWERS} more answers (--json)"] if len(answers) > ANSWERS else []
    where = render_names(list(dict.fromkeys(finding.where for finding in group)), servers=servers)
    return first.status, first.check, where, tuple(lines), first.mend


def render_names(names: Sequence[str], *, servers: Sequence[str]) -> str:
    """`all 5 servers`, a few by name, or how many more."""
    if len(servers) > 1 and set(names) == set(servers):
        return f"all {len(servers)} servers"
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return " ".join(names[:NAMES]) + more


def summarize(findings: Sequence[Finding]) -> str:
    """One line: may one deploy?"""
    counts = Counter(finding.status for finding in findings)
    parts = [f"{counts[Status.OK]} ok"]
    parts += [f"{counts[Status.SKIPPED]} skipped"] if counts[Status.SKIPPED] else []
    parts += [count(counts[Status.WARNING], "warning")] if counts[Status.WARNING] else []
    parts += [f"{counts[Status.UNKNOWN]} unknown"] if counts[Status.UNKNOWN] else []
    parts += [count(counts[Status.PROBLEM], "problem")] if counts[Status.PROBLEM] else []
    return f"{', '.join(parts)}. {VERDICTS[decide_exit(findings)]}"


def to_data(findings: Sequence[Finding], *, inventory: Path | None) -> dict[str, Any]:
    """The same for machines: every finding by itself, and what is wrong in one sentence each."""
    code = decide_exit(findings)
    return {
        "inventory": str(inventory) if inventory else None,
        "ok": code == 0,
        "exit": code,
        "summary": summarize(findings),
        "failures": _tell(findings, Status.PROBLEM),
        "warnings": _tell(findings, Status.WARNING),
        "findings": [asdict(finding) for finding in findings],
    }


def _tell(findings: Sequence[Finding], status: Status) -> list[str]:
    return [f"{finding.where}: {finding.what}" for finding in findings if finding.status is status]
