"""`dsops rollback`: back to the release that was good. Shows a plan, asks once, goes node by node."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import click
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.status import Status
from rich.table import Table
from rich.text import Text

from dsops.control.cli.status import make_console
from dsops.control.fleet.epoch import take_epoch
from dsops.control.fleet.inventory import Fleet, get_fleet
from dsops.control.fleet.options import NodeName, inventory_option, state_option, who
from dsops.control.fleet.releases import Listed, choose_servers
from dsops.control.fleet.rollback import Item, Ordered, Orders, Plan, decide_plan, follow, look, order
from dsops.core.errors import DsopsError
from dsops.core.tiers import render_seconds as core_seconds

NOTHING_TO_DO = 3
SAID_NO = 130


@click.command()
@click.argument("nodes", nargs=-1, type=NodeName())
@click.option("--to", default="", help="This release, instead of the newest good one. `dsops release list` shows them.")
@click.option("--reason", default="rolled back by hand", show_default=True, help="Why; kept in the nodes' history.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
@click.option("--dry", is_flag=True, help="Show the plan, and change nothing.")
@click.option("--wait", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds for each node.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines; wants --yes or --dry.")
@state_option
@inventory_option
def rollback(
    nodes: tuple[str, ...],
    to: str,
    reason: str,
    yes: bool,
    dry: bool,
    wait: float,
    as_json: bool,
    state: Path,
    inventory: Path,
) -> None:
    """Go back to the release that was good before. Nothing is copied: the old release is still on the nodes, and only
    one that went to the cold tier is copied to the hot one first, which the plan says with its minutes.

    Without NODES: the ones that are sick or whose release is on trial; when there is none, those with the newest
    release. Shows the plan, asks once, then goes node by node, and stops when one does not come back.

    \b
    Exit status: 0   every node of the plan serves its older release (or --dry)
                 1   a node refused or did not come back; those after it were not touched
                 3   there is nothing to go back to
                 130 you said no
    """
    if as_json and not (yes or dry):
        raise click.UsageError("--json asks nothing: add --yes or --dry")
    fleet = get_fleet(inventory)
    plan = make_plan(fleet, nodes, to=to)
    console = Console(stderr=True, highlight=False) if as_json else make_console()
    console.print(render(plan))
    if not plan.items or dry:
        leave(plan, (), as_json=as_json, code=0 if plan.items else NOTHING_TO_DO)
    if not yes and not ask(plan):
        console.print("Nothing was changed.")
        raise SystemExit(SAID_NO)
    orders = Orders(who(), reason, to, take_epoch(state, inventory=fleet.path), wait)
    went = go_back(fleet, plan, orders, console=console)
    console.print(render_end(plan, went))
    leave(plan, went, as_json=as_json, code=0 if len(went) == len(plan.items) and not went[-1].error else 1)


@dataclass(frozen=True)
class Went:
    """How it went on one node. release: where it went; seconds: from the order on; error: None when it serves."""

    item: Item
    release: str
    seconds: float
    error: DsopsError | None = None


def make_plan(fleet: Fleet, nodes: Sequence[str], *, to: str) -> Plan:
    """Asks the nodes, and decides."""
    servers = choose_servers(fleet, nodes)
    with Console(stderr=True).status("asking the nodes"):
        seen = look(fleet, servers)
    return decide_plan(seen, is_named=bool(nodes), to=to)


def ask(plan: Plan) -> bool:
    """The one question. Raises DsopsError when nobody is there to answer."""
    count = len(plan.items)
    try:
        return click.confirm(f"Go back on {count} node{'s' if count > 1 else ''}?", default=False)
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        raise DsopsError("nobody answered, so nothing was changed", mend="add --yes in a script") from error


def go_back(fleet: Fleet, plan: Plan, orders: Orders, *, console: Console) -> list[Went]:
    """Node by node, told as it goes; ends at the first that does not come back."""
    went: list[Went] = []
    for item in plan.items:
        with console.status(f"{item.server.name}: goes back") as status:
            went.append(_go_back(fleet, item, orders, tell=partial(_tell, status, item.server.name)))
        console.print(render_went(went[-1]))
        if went[-1].error:
            break
    return went


def _tell(status: Status, node: str, said: str) -> None:
    status.update(escape(f"{node}: {said}"))


def _go_back(fleet: Fleet, item: Item, orders: Orders, *, tell: Callable[[str], None]) -> Went:
    start, ordered = time.monotonic(), Ordered(item.to)
    if item.copy:
        tell(f"{item.to} is copied from the cold tier")
    try:
        ordered = order(fleet, item, orders)
        follow(fleet, item, ordered, wait=orders.wait, tell=tell)
    except DsopsError as error:
        return Went(item, ordered.target, time.monotonic() - start, error)
    return Went(item, ordered.target, time.monotonic() - start)


def render(plan: Plan) -> RenderableType:
    """The plan as a table, and who stays."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("node", "leaves", "goes to", "how"):
        table.add_column(column, no_wrap=True)
    table.add_column("about", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for item in plan.items:
        words = (item.server.name, item.leaves, item.to or "its last good one", render_way(item), render_seconds(item))
        table.add_row(*words, escape(item.why))
    stays = [Text.assemble((f"{server.name} ", "bold"), f"stays: {why}") for server, why in plan.stays]
    if not plan.items:
        return Group(Text("There is nothing to go back to."), *stays)
    return Group(table, *stays, Text(render_about(plan)))


def render_about(plan: Plan) -> str:
    """What the words of the table mean for this plan."""
    lines = ["One node after the other; what does not run yet loads beside what is served now."]
    copies = [render_copy(item, item.copy) for item in plan.items if item.copy]
    return "\n".join([*lines, *copies]) if copies else f"Nothing is copied. {lines[0]}"


def render_copy(item: Item, copy: Listed) -> str:
    """What is copied first, and how long that takes."""
    about = "" if copy.copy_seconds is None else f", about {core_seconds(copy.copy_seconds)}"
    return f"{item.server.name} copies {item.to} from its cold tier first{about}, and serves meanwhile."


def render_way(item: Item) -> str:
    """warm slot: the old release's Triton still runs. hot: it loads. cold: it is copied, and loads."""
    return item.way or "?"


def render_seconds(item: Item) -> str:
    """What it is expected to take."""
    return "?" if item.seconds is None else core_seconds(item.seconds)


def render_went(went: Went) -> Text:
    """One line, with the mend below when it failed."""
    name = f"{went.item.server.name}: "
    if went.error is None:
        return Text(f"{name}{went.release} serves again, {went.seconds:.1f} s")
    mend = f"\n  mend: {went.error.mend}" if went.error.mend else ""
    return Text(f"{name}FAILED after {went.seconds:.1f} s: {went.error.what}{mend}")


def render_end(plan: Plan, went: Sequence[Went]) -> Text:
    """How many went back, who was not touched, and what is left to know."""
    back = [one for one in went if not one.error]
    left = [item.server.name for item in plan.items[len(went) :]]
    bad = ", ".join(sorted({one.item.leaves for one in back}))
    lines = [f"{len(back)} of {len(plan.items)} nodes went back in {sum(one.seconds for one in went):.1f} s."]
    lines += [f"Not touched: {', '.join(left)}."] if left else []
    lines += (
        [f"{bad} is marked bad there and is refused from now on; `dsops release unmark-bad` lifts it."] if bad else []
    )
    return Text(" ".join(lines))


def leave(plan: Plan, went: Sequence[Went], *, as_json: bool, code: int) -> NoReturn:
    """Ends the command, with the whole of it for machines."""
    if as_json:
        click.echo(json.dumps(to_data(plan, went), ensure_ascii=False))
    raise SystemExit(code)


def to_data(plan: Plan, went: Sequence[Went]) -> dict[str, object]:
    """Plan and outcome. done: null where it was not tried."""
    done = {one.item.server.name: one for one in went}
    return {
        "nodes": [
            {
                "node": item.server.name,
                "leaves": item.leaves,
                "to": item.to,
                "warm": item.is_warm,
                "way": item.way,
                "expected_seconds": item.seconds,
                "why": item.why,
                "done": _went_data(done.get(item.server.name)),
            }
            for item in plan.items
        ],
        "stays": {server.name: why for server, why in plan.stays},
    }


def _went_data(went: Went | None) -> dict[str, object] | None:
    if went is None:
        return None
    error = str(went.error) if went.error else None
    return {"release": went.release, "seconds": round(went.seconds, 3), "error": error}
