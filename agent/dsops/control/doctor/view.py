"""The findings as a table for people."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dsops.control.doctor.finding import Finding, Status
from dsops.control.doctor.summary import merge, summarize

STYLES = {
    Status.OK: "green",
    Status.SKIPPED: "dim",
    Status.WARNING: "yellow",
    Status.UNKNOWN: "magenta",
    Status.PROBLEM: "bold red",
}


def render(findings: Sequence[Finding], *, inventory: Path | None, servers: Sequence[str]) -> RenderableType:
    """Table, what to do, summary. Problems come last: they stand where the eye is when the command ends."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("", "check", "where", "what"):
        table.add_column(column, overflow="fold")
    for status, check, where, whats, mend in merge(findings, servers=servers):
        text = Text("\n".join(whats))
        text.append(f"\nmend: {mend}" if mend else "", "dim" if status is Status.SKIPPED else "bold")
        table.add_row(Text(status.value, STYLES[status]), check, where, text)
    source = [Text(f"inventory: {inventory}", "dim")] if inventory else []
    return Group(table, Text(""), Text(summarize(findings), "bold"), *source)
