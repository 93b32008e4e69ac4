"""What `dsops accept` says on a terminal, and the same for machines."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from dsops.control.accept.run import Accepted
from dsops.control.fleet.parallel import Outcome
from dsops.core.accept.certificate import Certificate
from dsops.core.accept.compare import Change
from dsops.core.accept.judge import Check, Verdict
from dsops.core.accept.judge import Outcome as Found
from dsops.core.accept.measured import NODE

# So much of what failed is told of each node; the rest stands on the page.
MOST = 8


def local_time(at: float) -> str:
    """Of whoever reads."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def render_outcomes(outcomes: Sequence[Outcome[Accepted]], *, is_light: bool) -> str:
    """A table of the nodes, what failed on each and what to do, and what comes next."""
    rows: list[tuple[str, ...]] = [("node", "verdict", "GPUs", "passed", "failed", "skipped", "unknown", "seconds")]
    rows += [_render_row(outcome) for outcome in outcomes]
    lines = _align(rows)
    for outcome in outcomes:
        lines += _tell(outcome)
    return "\n".join([*lines, *_tell_next(outcomes, is_light=is_light)])


def render_certificate(one: Certificate, *, local: Callable[[float], str]) -> str:
    """One that is kept here."""
    forced = f", forced: {one.forced}" if one.forced else ""
    lines = [f"{one.node}: {one.verdict}{forced}; measured {local(one.made_at)} by {one.who}"]
    lines += [f"  GPU {gpu.index}  {gpu.name}  {gpu.uuid}  serial {gpu.serial or '-'}" for gpu in one.measured.gpus]
    rows: list[tuple[str, ...]] = [("", "", "value", "bound", "median", "")]
    rows += [_render_check(check) for check in one.checks]
    return "\n".join([*lines, *(f"  {line}" for line in _align(rows))])


def render_changes(changes: Sequence[Change], *, names: tuple[str, str], swapped: Sequence[str]) -> str:
    """Two certificates side by side. What got notably worse is said in words."""
    rows = [("", "", names[0], names[1], "change", "")]
    for one in changes:
        percent = "" if one.percent is None else f"{one.percent:+.1f} %"
        worse = "WORSE" if one.is_worse else ""
        rows.append(
            (
                _place(one.gpu, one.peer),
                one.title,
                _say(one.first, one.unit),
                _say(one.second, one.unit),
                percent,
                worse,
            )
        )
    count = sum(one.is_worse for one in changes)
    end = f"{count} of {len(changes)} figures are notably worse" if count else "nothing is notably worse"
    return "\n".join([*swapped, *_align(rows), end])


def to_data(outcomes: Sequence[Outcome[Accepted]]) -> dict[str, Any]:
    """For machines."""
    nodes = []
    for outcome in outcomes:
        done = outcome.value
        nodes.append(
            {
                "node": outcome.server.name,
                "certificate": json.loads(done.certificate.render()) if done else None,
                "kept": done.kept if done else False,
                "reason": str(done.why) if done and done.why else outcome.reason,
            }
        )
    return {"nodes": nodes}


def _render_row(outcome: Outcome[Accepted]) -> tuple[str, ...]:
    if outcome.value is None:
        return (outcome.server.name, "not measured", "-", "-", "-", "-", "-", f"{outcome.seconds:.0f}")
    made = outcome.value.certificate
    counts = [
        sum(check.outcome is kind for check in made.checks)
        for kind in (Found.PASS, Found.FAIL, Found.SKIPPED, Found.UNKNOWN)
    ]
    verdict = f"{made.verdict} (forced)" if made.forced else made.verdict.value
    return (made.node, verdict, str(len(made.measured.gpus)), *map(str, counts), f"{outcome.seconds:.0f}")


def _tell(outcome: Outcome[Accepted]) -> list[str]:
    name = outcome.server.name
    if outcome.value is None:
        error = outcome.error
        return [f"{name}: {outcome.reason}"] + ([f"  mend: {error.mend}"] if error and error.mend else [])
    made, lines = outcome.value.certificate, []
    trouble = made.failed or made.missing
    for check in trouble[:MOST]:
        word = "FAIL" if check.outcome is Found.FAIL else check.outcome.value
        lines.append(f"{name}: {word} {_place(check.gpu, check.peer)}: {check.title}: {check.reason}")
        lines += [f"  mend: {check.mend}"] if check.mend else []
    if len(trouble) > MOST:
        lines.append(f"{name}: and {len(trouble) - MOST} more; --html FILE shows them all")
    if outcome.value.why:
        lines.append(f"{name}: the node did not take its certificate: {outcome.value.why}")
        lines += [f"  mend: {outcome.value.why.mend}"] if outcome.value.why.mend else []
    return lines


def _tell_next(outcomes: Sequence[Outcome[Accepted]], *, is_light: bool) -> list[str]:
    if is_light:
        return ["only looked at: no certificate was made"]
    made = [outcome.value for outcome in outcomes if outcome.value]
    good = [one.certificate.node for one in made if one.kept and one.certificate.is_good]
    poor = [one.certificate.node for one in made if one.certificate.verdict is Verdict.INCOMPLETE and not one.kept]
    lines = []
    if poor:
        names = ", ".join(poor)
        lines.append(f'{names}: no certificate, since something is missing; or --force --reason "..."')
    if good:
        lines.append(f"{', '.join(good)}: may serve. next: `dsops deploy` brings the first release in where none is")
    return lines


def _render_check(check: Check) -> tuple[str, ...]:
    value, bound, median = (_say(one, check.unit) for one in (check.value, check.bound, check.median))
    return (
        f"{check.outcome.upper():<8}",
        f"{_place(check.gpu, check.peer)}: {check.title}",
        value,
        bound,
        median,
        check.reason,
    )


def _place(gpu: int, peer: int = NODE) -> str:
    if gpu == NODE:
        return "node"
    return f"GPU {gpu}" if peer == NODE else f"GPU {gpu} from {peer}"


def _say(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.4g} {unit}".rstrip() if abs(value) < 10000 else f"{value:,.0f} {unit}"


def _align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
