"""The plan as one page that a change board can read, on 100 columns; words carry the meaning, colour repeats it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dsops.core.dry import Certainty, Change, Detail
from dsops.core.effects import find_effect
from dsops.core.plan import (
    Plan,
    ServerPlan,
    find_details,
    find_out,
    find_ports,
    find_reboots,
    find_restarts,
    find_silent,
    group_servers,
)
from dsops.core.waves import Wave, count_capacity

WIDTH = 100
SHORT = 12  # lines of a diff, unless all are wanted
FEW = 6  # of a list of things alike
SILENT = "no agent answers"
STYLES = {"+": "green", "-": "red", "@": "cyan"}
MARKS = {Certainty.CONDITIONAL: " (only if something before it changes)", Certainty.FOLLOWS: ""}


def render(plan: Plan, *, file: str, full: bool = False) -> RenderableType:
    """The whole page. file: where the plan lies; full: diffs to their end."""
    parts: list[RenderableType] = [render_head(plan), *render_short(plan)]
    if plan.unseen:
        parts += [_title("Could not be looked at"), *render_unseen(plan)]
    if plan.changed:
        parts += [_title("What changes"), *render_changes(plan, full=full)]
        parts += [_title("What restarts"), *(render_restarts(plan) or [_line("nothing")])]
        parts += [_title("What reboots"), *(render_reboots(plan) or [_line("nothing")])]
        parts += [_title("Ports"), *render_ports(plan)]
        parts += [_title("Waves, and what serves meanwhile"), render_waves(plan, plan.waves)]
        parts += [_title("How to go back"), *render_back(plan)]
        parts += [_title("To do it"), *render_apply(file)]
    return Group(*parts)


def render_head(plan: Plan) -> RenderableType:
    """What this is, and where it comes from."""
    origin = plan.origin
    table = Table.grid(padding=(0, 2))
    limit = f", limited to {', '.join(origin.limit)}" if origin.limit else ""
    rows = {
        "made": f"{plan.made_at} by {plan.who}",
        "inventory": f"{origin.inventory} ({len(plan.fleet)} servers{limit}; data {origin.servers})",
        "checkout": f"{origin.checkout} ({origin.revision or 'no git'}; roles {origin.sources})",
        "bundle": f"{origin.bundle}, dsops {origin.dsops}",
    }
    for key, value in rows.items():
        table.add_row(Text(key, "dim"), Text(value, overflow="fold"))
    return Group(Text(f"CHANGE {plan.id}", "bold"), Padding(table, (0, 0, 0, 2), expand=False))


def render_short(plan: Plan) -> list[RenderableType]:
    """The answer in a few lines, before the details."""
    same = [server.name for server in plan.servers if not server.changes]
    count = sum(len(server.changes) for server in plan.changed)
    units = {unit for server in plan.changed for unit, verb in find_restarts(plan, server).items() if verb != "start"}
    reboots = [server.name for server in plan.changed if find_reboots(plan, server)]
    out = [server.name for server in plan.changed if find_out(plan, server.name)]
    words = [f"{len(plan.changed)} of {len(plan.servers) + len(plan.unseen)} servers change ({count} operations)"]
    words += [f"{len(same)} are as wanted"] if same else []
    words += [f"{len(plan.unseen)} COULD NOT BE LOOKED AT"] if plan.unseen else []
    lines = [_line(f"{'; '.join(words)}.", "bold")]
    if plan.changed:
        restarts = _count_units(len(units)) if units else "nothing restarts"
        asked = f"a reboot is asked for on {_names(reboots)}" if reboots else "nothing reboots"
        away = f"{_names(out)} out of traffic in their turn" if out else "no node leaves the traffic"
        lines.append(_line(f"{restarts}; {asked}; {away}.", "bold"))
    return ["", *lines]


def _count_units(count: int) -> str:
    return f"{count} units restart or reload" if count > 1 else "1 unit restarts or reloads"


def render_unseen(plan: Plan) -> list[RenderableType]:
    """Each with its reason; it is not said that they are as wanted."""
    return [_line(f"{one.name}: {one.why}", "red") for one in plan.unseen]


def render_changes(plan: Plan, *, full: bool) -> Iterator[RenderableType]:
    """Servers with the same operations together."""
    for group in group_servers(plan.changed):
        runs = _group_runs(group)
        words = [f"{run}{f' on {_names(names)}' if len(runs) > 1 else ''}" for run, names in runs.items()]
        yield _line(f"{_names([server.name for server in group])} ({'; '.join(words)})", "bold")
        for change in group[0].changes:
            yield from _render_operation(plan, group, change, full=full)
    same = [server.name for server in plan.servers if not server.changes]
    if same:
        yield _line(f"{_names(same)}: nothing")


def _group_runs(servers: Iterable[ServerPlan]) -> dict[str, list[str]]:
    """What runs now -> where."""
    found: dict[str, list[str]] = defaultdict(list)
    for server in servers:
        found[_render_runs(server)].append(server.name)
    return found


def _render_runs(server: ServerPlan) -> str:
    parts = [f"release {server.release}"] if server.release else []
    parts += [f"dsops {server.dsops}"] if server.dsops else []
    return f"runs {', '.join(parts)}" if parts else SILENT


def _render_operation(
    plan: Plan, group: tuple[ServerPlan, ...], change: Change, *, full: bool
) -> Iterator[RenderableType]:
    effect = find_effect(plan.effects, change.operation)
    note = Text(effect.note, "dim") if effect else Text("effect not said", "bold yellow")
    yield _line(Text.assemble((change.operation, "cyan"), MARKS.get(change.certainty, ""), " - ", note), by=4)
    different = find_details(group, change.operation)
    for names, details in different:
        head = f"{_names(list(names))}: " if len(different) > 1 else ""
        yield from _render_details(details, head, full=full)


def render_differences(changes: Sequence[Change], *, full: bool = False) -> Iterator[RenderableType]:
    """What each operation would do on one server."""
    for change in changes:
        yield _line(Text.assemble((change.operation, "cyan"), MARKS.get(change.certainty, "")))
        yield from _render_details(change.details, "", full=full)


def _render_details(details: Sequence[Detail], head: str, *, full: bool) -> Iterator[RenderableType]:
    shown = details if full else details[:FEW]
    for one in shown:
        yield _line(f"{head}{render_detail(one)}", by=6)
        yield from _render_diff(one, full=full)
    if len(shown) < len(details):
        yield _line(f"{head}and {len(details) - len(shown)} more of the kind", "dim", by=6)


def render_detail(one: Detail) -> str:
    """In one line. A secret shows nothing but that it changes; a new file shows how long it is."""
    if one.secret:
        return f"{one.target}: {one.says or 'changes'} (content not shown)"
    lines = sum(line.startswith("+") for line in one.diff)
    long = f", {lines} line{'s' * (lines > 1)}" if one.says.startswith("new") and lines else ""
    binary = " (content changes)" if one.kind == "file" and not one.diff and not one.says else ""
    return f"{one.target}: {one.says}{long}{binary}".removesuffix(": ")


def _render_diff(one: Detail, *, full: bool) -> Iterator[RenderableType]:
    """Not of new files, unless all is wanted: there everything is new."""
    if one.says.startswith("new") and not full:
        return
    shown = one.diff if full else one.diff[:SHORT]
    for line in shown:
        yield Padding(
            Text(line, STYLES.get(line[:1], ""), no_wrap=True, overflow="ellipsis"), (0, 0, 0, 8), expand=False
        )
    if len(shown) < len(one.diff):
        yield _line(f"... {len(one.diff) - len(shown)} more lines (--full)", "dim", by=8)


def render_restarts(plan: Plan) -> list[RenderableType]:
    """unit: what happens to it, and where."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for server in plan.changed:
        for unit, verb in find_restarts(plan, server).items():
            found[unit, verb].append(server.name)
    rows = [(unit, verb, _names(names)) for (unit, verb), names in sorted(found.items())]
    return [_table(rows)] if rows else []


def render_reboots(plan: Plan) -> list[RenderableType]:
    """Nothing reboots by itself; which operations ask for one, and where."""
    found: dict[str, list[str]] = defaultdict(list)
    for server in plan.changed:
        for operation in find_reboots(plan, server):
            found[operation].append(server.name)
    lines = [_line(f"{_names(names)}: after {operation}", "bold") for operation, names in found.items()]
    return [*lines, _line("Not by itself: `dsops apply --reboot` does it within the waves.")] if lines else []


def render_ports(plan: Plan) -> list[RenderableType]:
    """The firewall's rules that come and go. What somebody changed in the kernel only stands in no file's diff."""
    found: dict[str, list[str]] = defaultdict(list)
    for server in plan.changed:
        for line in find_ports(server):
            found[line].append(server.name)
    rows = [(line[0], f"{line[0]} {line[1:].strip()}", f"   on {_names(names)}") for line, names in found.items()]
    lines = [_line(Text.assemble((rule, STYLES[mark]), (where, "dim"))) for mark, rule, where in rows]
    others = [
        one.name for one in plan.changed if not find_ports(one) and any(c.role == "firewall" for c in one.changes)
    ]
    if others:
        lines.append(_line(f"none in the file on {_names(others)}; the rules in force are loaded from it again"))
    return lines or [_line("no rule of the firewall changes")]


def render_waves(plan: Plan, waves: Sequence[Wave]) -> RenderableType:
    """Each with the servers that are in it, and how many of each pool serve while it runs."""
    rows = []
    for number, wave in enumerate(waves, start=1):
        out = [name for name in wave if find_out(plan, name) or find_reboots(plan, plan.get_server(name))]
        pools = [
            f"{one.pool}: {one.serve} of {one.of} serve" + (" - OUTAGE" if one.serve == 0 else "")
            for one in count_capacity(plan.fleet, out)
        ]
        rows.append((f"{number}", _names(list(wave)), "; ".join(pools) or "all go on serving"))
    return _table(rows)


def render_back(plan: Plan) -> list[RenderableType]:
    """For each operation what its role says, those with the same way together."""
    found: dict[str, list[str]] = defaultdict(list)
    for effect in plan.effects:
        found[effect.back].append(effect.operation)
    lines: list[RenderableType] = []
    for back, names in found.items():
        lines += [_line(back), _line(", ".join(names), "dim", by=6)]
    if silent := find_silent(plan):
        lines.append(_line(f"not said: {', '.join(silent)}", "bold yellow"))
    runs = [f"{_names(names)}: {run}" for run, names in _group_runs(plan.changed).items() if run != SILENT]
    return [*lines, *([_line(f"What there is to go back to: {'; '.join(runs)}.")] if runs else [])]


def render_apply(file: str) -> list[RenderableType]:
    """The next command."""
    refuses = "refuses if servers, inventory, bundle or roles have changed since; stops at the first gate that fails"
    return [_line(f"dsops apply {file}", "bold"), _line(refuses, "dim")]


def _title(text: str) -> RenderableType:
    return Text(f"\n{text.upper()}", "bold")


def _line(text: str | Text, style: str = "", *, by: int = 2) -> RenderableType:
    words = Text(text, style) if isinstance(text, str) else text
    words.overflow = "fold"
    return Padding(words, (0, 0, 0, by), expand=False)


def _table(rows: Iterable[Sequence[str]]) -> RenderableType:
    table = Table.grid(padding=(0, 3, 0, 0))
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _names(names: Sequence[str]) -> str:
    """As few words as say it all."""
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:6])} and {len(names) - 6} more"
