"""`dsops drift`: what differs now from what the site should be, server by server."""

import dataclasses
import json
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dsops.control.bundle.checkout import find_root
from dsops.control.cli.plan import make_console, show_looking
from dsops.control.fleet.inventory import Fleet, get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.control.plan.dry import Look, choose_servers, look
from dsops.control.plan.page import render_differences

DRIFT, UNSEEN = 1, 2


@click.command()
@inventory_option
@click.option("--limit", multiple=True, metavar="NODE", help="Only this server or group; may be given more than once.")
@click.option("--full", is_flag=True, help="All lines of all differences.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), help="The checkout. Default: the inventory's own."
)
def drift(inventory: Path, limit: tuple[str, ...], full: bool, as_json: bool, root: Path | None) -> None:
    """Say what differs now from what the site should be. Changes nothing.

    \b
    Exit status: 0 nothing does
                 1 something does (`dsops plan` makes a plan to mend it)
                 2 not every server could be looked at
    """
    fleet = get_fleet(inventory)
    with show_looking("looking at the servers"):
        seen = look(find_root(root or fleet.root), fleet, choose_servers(fleet, limit))
    if as_json:
        click.echo(json.dumps(to_data(seen, fleet), ensure_ascii=False))
    else:
        make_console().print(render(seen, fleet, full=full))
    raise SystemExit(decide_exit(seen))


def decide_exit(seen: Look) -> int:
    """One that was not seen outweighs all: nobody knows."""
    if seen.unseen:
        return UNSEEN
    return DRIFT if any(seen.dry.changes.values()) else 0


def render(seen: Look, fleet: Fleet, *, full: bool = False) -> RenderableType:
    """A table of the servers, the differences below it, and a sum."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("server", "drift", "what"):
        table.add_column(column, no_wrap=column != "what", overflow="fold")
    parts: list[RenderableType] = [table]
    for server in fleet.servers:
        if server.name in seen.unseen:
            table.add_row(server.name, Text("UNKNOWN", "bold red"), Text(f"not looked at: {seen.unseen[server.name]}"))
        elif changes := seen.dry.changes.get(server.name):
            names = ", ".join(change.operation for change in changes)
            table.add_row(server.name, Text(f"{len(changes)}", "yellow"), Text(names))
            parts += ["", Text(server.name, "bold"), *render_differences(changes, full=full)]
        elif server.name in seen.dry.changes:
            table.add_row(server.name, Text("none", "green"), "")
    return Group(*parts, "", Text(summarize(seen)), Text(f"inventory: {fleet.path}", "dim"))


def summarize(seen: Look) -> str:
    """One line."""
    drifted = sum(1 for changes in seen.dry.changes.values() if changes)
    total = len(seen.dry.changes) + len(seen.unseen)
    unknown = f", {len(seen.unseen)} could not be looked at" if seen.unseen else ""
    return f"{drifted} of {total} servers differ{unknown}." + (
        " `dsops plan` says what mending costs." if drifted else ""
    )


def to_data(seen: Look, fleet: Fleet) -> dict[str, object]:
    """The same for machines. changes: null where nobody could look."""
    names = [one.name for one in fleet.servers if one.name in seen.unseen or one.name in seen.dry.changes]
    return {
        "inventory": str(fleet.path),
        "summary": summarize(seen),
        "servers": [
            {
                "server": name,
                "reason": seen.unseen.get(name, ""),
                "changes": None
                if name in seen.unseen
                else [dataclasses.asdict(change) for change in seen.dry.changes[name]],
            }
            for name in names
        ],
    }
