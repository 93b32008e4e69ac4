"""`dsops history [NODE...]`: what happened to releases on the nodes, newest first."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from dsops.control.cli.status import make_console
from dsops.control.fleet.http import Entry, parse_history, read_history
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import NodeName, inventory_option
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.releases import choose_servers
from dsops.control.fleet.ssh import run_node
from dsops.core.errors import DsopsError

SSH_SECONDS = 20.0


@dataclass(frozen=True)
class Told:
    """An entry, and whose it is."""

    node: str
    entry: Entry


@click.command()
@click.argument("nodes", nargs=-1, type=NodeName())
@click.option("-n", "--number", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many entries.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=3.0, show_default=True, help="Seconds an agent has.")
@inventory_option
def history(nodes: tuple[str, ...], number: int, as_json: bool, timeout: float, inventory: Path) -> None:
    """What happened on NODES, or on all gpu servers, newest first: switches, verdicts, rollbacks, who did what and why.

    Where the agent does not answer, the store's own journal is asked over SSH.
    """
    fleet = get_fleet(inventory)
    servers = choose_servers(fleet, nodes)
    seconds = timeout + SSH_SECONDS + 10
    asked = ask_all(servers, lambda s: read_entries(fleet, s, limit=number, timeout=timeout), deadline=seconds)
    entries = merge(asked)[:number]
    if as_json:
        click.echo(json.dumps(to_data(entries, asked), ensure_ascii=False))
        return
    if entries:
        make_console().print(render(entries))
    elif not any(outcome.error for outcome in asked):
        click.echo("Nothing has happened yet.")
    for outcome in asked:
        if outcome.error:
            click.echo(f"{outcome.server.name} cannot be asked: {outcome.error}", err=True)
    raise SystemExit(1 if all(outcome.error for outcome in asked) else 0)


def read_entries(fleet: Fleet, server: Server, *, limit: int, timeout: float) -> tuple[Entry, ...]:
    """From the agent, else from the journal of the store. Raises DsopsError."""
    try:
        return read_history(server, limit=limit, timeout=timeout)
    except DsopsError:
        words = ["history", "--json", "-n", str(limit)]
        return parse_history(run_node(fleet, server, words, timeout=SSH_SECONDS), where=server.name)


def merge(asked: Sequence[Outcome[tuple[Entry, ...]]]) -> list[Told]:
    """All entries, newest first. Pure."""
    told = [Told(outcome.server.name, entry) for outcome in asked for entry in outcome.value or ()]
    return sorted(told, key=lambda one: (-one.entry.at, one.node, -(one.entry.seq or 0)))


def render(told: Sequence[Told]) -> Table:
    """One row an entry."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("when", "node", "what", "release"):
        table.add_column(column, no_wrap=True)
    table.add_column("says", overflow="fold")
    table.add_column("who", no_wrap=True)
    for one in told:
        when = datetime.fromtimestamp(one.entry.at).astimezone()
        words = (one.node, one.entry.kind, one.entry.release or "-", one.entry.says, one.entry.who or "-")
        table.add_row(f"{when:%m-%d %H:%M:%S}", *(escape(word) for word in words))
    return table


def to_data(told: Sequence[Told], asked: Sequence[Outcome[tuple[Entry, ...]]]) -> dict[str, object]:
    """The same for machines."""
    silent = {outcome.server.name: outcome.reason for outcome in asked if outcome.error}
    return {"entries": [{"node": one.node, **asdict(one.entry)} for one in told], "silent": silent}
