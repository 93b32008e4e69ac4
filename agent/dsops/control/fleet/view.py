"""The fleet's status as a table, a summary and hints; pure, apart from the one that reads the servers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dsops.control.fleet.http import read_status
from dsops.control.fleet.inventory import Fleet
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.core.status import Canary, Condition, Gpu, NodeStatus, Phase

Seen = Outcome[NodeStatus]
_STYLES = {
    Condition.OK: "green",
    Condition.MAINTENANCE: "cyan",
    Condition.DEGRADED: "yellow",
    Condition.BLIND: "magenta",
}
# How long a rollback is news.
NEWS_SECONDS = 86400.0
_COLUMNS = ("node", "release", "phase", "condition", "since", "GPUs", "temp", "memory", "tokens/s", "P99")
# Columns that the whole table needs.
WIDE = 92
_RIGHT = ("since", "GPUs", "temp", "memory", "tokens/s", "P99")


def read_fleet(fleet: Fleet, *, timeout: float) -> list[Seen]:
    """All servers at once; the whole takes no longer than the timeout (seconds) and a little."""
    return ask_all(fleet.servers, lambda s: read_status(s, timeout=timeout), deadline=timeout + 0.2)


def render(fleet: Fleet, seen: Sequence[Seen], *, width: int = WIDE) -> RenderableType:
    """Table, summary, hints. width = the terminal's columns."""
    table = render_table(seen, is_narrow=width < WIDE)
    hints = [*render_hints(seen), *render_news(seen)]
    return Group(table, Text(""), Text(summarize(seen)), *hints, render_source(fleet))


def render_table(seen: Sequence[Seen], *, is_narrow: bool = False) -> Table:
    """One row a server. Words carry the meaning; colour only repeats it. Narrow fits 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1 if is_narrow else 2, 0, 0), header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="right" if column in _RIGHT else "left", no_wrap=True)
    for outcome in seen:
        table.add_row(*_render_row(outcome, release_width=9 if is_narrow else 13))
    return table


def _render_row(outcome: Seen, *, release_width: int) -> list[RenderableType]:
    status = outcome.value
    if status is None:
        return [outcome.server.name, "-", "-", Text("unreachable", "bold red"), *["-"] * 6]
    style = _STYLES.get(status.condition, "bold red")
    phase_style = "" if status.phase is Phase.SERVING else "yellow"
    return [
        status.node,
        status.release[:release_width] or "-",
        Text(status.phase, phase_style),
        Text(status.condition, style),
        render_duration(max(0.0, status.observed_at - status.since)),
        render_gpus(status),
        render_temperature(status.gpus),
        render_memory(status.gpus),
        "-" if status.tokens_per_second is None else f"{status.tokens_per_second:,.0f}",
        "-" if status.p99_seconds is None else render_seconds(status.p99_seconds),
    ]


def render_gpus(status: NodeStatus) -> str:
    """How many, and of what when they are all alike; `?` when nobody could look."""
    if not status.gpus:
        return "?" if any(f.code.startswith("gpu.") for f in status.findings) else "-"
    names = {g.name.removeprefix("NVIDIA ").split(" ")[0] for g in status.gpus}
    return f"{len(status.gpus)} {names.pop() if len(names) == 1 else 'mixed'}"


def render_temperature(gpus: Sequence[Gpu]) -> str:
    """The hottest."""
    known = [g.temperature_c for g in gpus if g.temperature_c is not None]
    return f"{max(known)} °C" if known else "-"


def render_memory(gpus: Sequence[Gpu]) -> str:
    """Used of all, over all GPUs, in GiB."""
    used = [g.memory_used_bytes for g in gpus if g.memory_used_bytes is not None]
    total = [g.memory_total_bytes for g in gpus if g.memory_total_bytes is not None]
    return f"{sum(used) / 2**30:.0f}/{sum(total) / 2**30:.0f}G" if used and total else "-"


def render_duration(seconds: float) -> str:
    """Two units at most: 42s, 7m, 3h12m, 5d4h."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days}d{hours % 24}h"
    if hours:
        return f"{hours}h{minutes % 60:02d}m"
    return f"{minutes}m" if minutes else f"{int(seconds)}s"


def render_seconds(seconds: float) -> str:
    """A latency."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def summarize(seen: Sequence[Seen]) -> str:
    """One line: how many of what, and how many serve."""
    counts = Counter(o.value.condition.value if o.value else "unreachable" for o in seen)
    parts = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    gpu = [o for o in seen if (o.value.role if o.value else o.server.role) == "gpu"]
    serving = [o for o in gpu if o.value and takes_traffic(o.value)]
    baking = [o for o in gpu if o.value and o.value.baking_until is not None]
    trial = f" {len(baking)} of them on trial." if baking else ""
    return f"{len(seen)} servers: {parts}. {len(serving)} of {len(gpu)} gpu servers take traffic.{trial}"


def takes_traffic(status: NodeStatus) -> bool:
    """Whether requests reach it: it serves, and neither a person nor the agent keeps them away."""
    return status.phase is Phase.SERVING and status.drained is None and status.ejected is None


def render_hints(seen: Sequence[Seen]) -> list[Text]:
    """What is not ok and what to do: the finding first, its mend below."""
    lines = []
    for outcome in seen:
        for what, mend in find_hints(outcome):
            lines.append(Text.assemble((f"{outcome.server.name}: ", "bold"), what))
            lines += [Text(f"  mend: {mend}", "dim")] if mend else []
    return lines


def find_hints(outcome: Seen) -> list[tuple[str, str]]:
    """(what, mend) for each trouble of one server."""
    if outcome.value is None:
        mend = outcome.error.mend if outcome.error else ""
        return [(f"unreachable: {outcome.reason}", mend)]
    status = outcome.value
    hints = [(f"{f.entity}: {f.reason}", f.mend) for f in status.findings]
    if status.halted and not any(status.halted in f.reason for f in status.findings):
        mend = f'`dsops why {status.node}`; then, on it: dsops node clear --reason "..."'
        hints.append((f"halted, dsops does nothing by itself: {status.halted}", mend))
    if status.ejected is not None and not any(status.ejected in f.reason for f in status.findings):
        hints.append((f"ejected: {status.ejected}", f"`dsops why {status.node}`"))
    if not hints and status.phase is not Phase.SERVING:
        hints.append((f"{status.phase}: {status.phase_reason or 'no reason given'}", ""))
    return hints


def render_news(seen: Sequence[Seen]) -> list[Text]:
    """What happens to releases: no trouble by itself, but one wants to know. Said once for all that it is true of."""
    told: dict[str, list[str]] = {}
    for outcome in seen:
        for says in find_news(outcome.value) if outcome.value else ():
            told.setdefault(says, []).append(outcome.server.name)
    return [Text.assemble((f"{', '.join(names)}: ", "bold"), says) for says, names in told.items()]


def find_news(status: NodeStatus) -> list[str]:
    """A canary or a move under way, a trial, a recent rollback, what is refused. Times count from the observation."""
    news = []
    if status.canary:
        news.append(render_canary(status.canary, at=status.observed_at))
    elif status.move:
        news.append(f"under way: {status.move}")
    if status.baking_until is not None:
        left = render_duration(max(0.0, status.baking_until - status.observed_at))
        back = f"the way back is {status.fallback}" if status.fallback else "there is no way back yet"
        news.append(f"{status.release} is on trial for {left} more; {back}")
    if status.last_rollback_at is not None and status.observed_at - status.last_rollback_at < NEWS_SECONDS:
        ago = render_duration(max(0.0, status.observed_at - status.last_rollback_at))
        news.append(f"rolled back by itself {ago} ago: `dsops why {status.node}`")
    return news + [f"{bad.release} is refused here: {bad.reason}" for bad in status.bad]


def render_canary(canary: Canary, *, at: float) -> str:
    """Its share and for how long it has had it; what speaks against it is a finding. at: Unix seconds."""
    minutes = max(0.0, at - canary.since) // 60
    span = f"{minutes:.0f} min" if minutes < 120 else render_duration(minutes * 60)
    return f"canary {canary.release} {canary.share} % for {span}"


def render_source(fleet: Fleet) -> Text:
    """Which inventory this was; one must never take the lab for the site."""
    return Text(f"inventory: {fleet.path}", "dim")


def to_data(fleet: Fleet, seen: Sequence[Seen]) -> dict[str, Any]:
    """The same for machines; `status` is the agent's own object, null for a server that did not answer."""
    return {
        "inventory": str(fleet.path),
        "summary": summarize(seen),
        "servers": [
            {
                "node": o.server.name,
                "address": o.server.address,
                "reachable": o.value is not None,
                "reason": o.reason,
                "seconds": round(o.seconds, 4),
                "status": asdict(o.value) if o.value else None,
            }
            for o in seen
        ],
    }
