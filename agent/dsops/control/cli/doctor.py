"""`dsops doctor`: all that stands in a deploy's way, at once, before it starts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from dsops.control.cli.status import make_console
from dsops.control.doctor.checks import ask_checks, checks_to_data, find_rows, render_checks
from dsops.control.doctor.checkup import Checkup, Outside, Tick, check_all
from dsops.control.doctor.egress import Target, parse_target
from dsops.control.doctor.finding import decide_exit
from dsops.control.doctor.probe import look
from dsops.control.doctor.summary import to_data
from dsops.control.doctor.view import render
from dsops.control.fleet.inventory import Server, get_fleet
from dsops.control.fleet.options import NodeName
from dsops.core.errors import DsopsError


@click.command()
@click.argument("nodes", nargs=-1, type=NodeName())
@click.option("--all", "shows_all", is_flag=True, help="With NODES: also the checks that are OK or SKIPPED, and why.")
@click.option(
    "--inventory",
    "-i",
    type=click.Path(path_type=Path),
    envvar="DSOPS_INVENTORY",
    show_envvar=True,
    help="The inventory; without it the site's own, found from here upwards, else inventory/lab.py.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.option("--limit", multiple=True, help="Only this server or group; may be given more than once.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    help="The checkout with the roles. Default: the inventory's own.",
)
@click.option(
    "--probe-egress",
    metavar="ADDRESS[:PORT]",
    help="Have every server try one TCP connection to this IP address (port 443), which must fail. "
    "Without it nothing is tried: on an air-gapped site an attempt is an alarm.",
)
def doctor(
    nodes: tuple[str, ...],
    *,
    shows_all: bool,
    inventory: Path | None,
    as_json: bool,
    limit: tuple[str, ...],
    root: Path | None,
    probe_egress: str | None,
) -> None:
    """Say all that stands in a deploy's way, before it starts; with NODES also what their checks say. Changes nothing.

    All servers are asked at once, by one login and one command each; with NODES only they, and their agents for what
    every check saw last: verdict, value, threshold, reason. A server that has no agent yet: --limit NODE instead.

    Exit status: 0 nothing does (warnings and what was skipped do not), 1 problems, 2 no problem, but not everything
    could be looked at. --json: one object with `ok`, `exit`, `summary`, `failures` and `warnings` (a sentence each),
    and `findings` (check, where, status, what, mend).
    """
    target = find_target(probe_egress)
    by = Outside(look=partial(look, egress=target), egress=target)
    with show_progress() as tick:
        done = check_all(inventory, root=root, limit=(*nodes, *limit), tick=tick, by=by)
    told = ask_checks(find_servers(done)) if nodes else []
    rows = find_rows(told)
    findings = (*done.findings, *(row.to_finding() for row in rows))
    if as_json:
        data = to_data(findings, inventory=done.inventory) | ({"checks": checks_to_data(told)} if nodes else {})
        click.echo(json.dumps(data, ensure_ascii=False))
    else:
        console = make_console()
        console.print(render(done.findings, inventory=done.inventory, servers=done.servers))
        if told:
            console.print(Text(""), render_checks(rows, told, shows_all=shows_all), sep="\n")
    raise SystemExit(decide_exit(findings))


def find_servers(done: Checkup) -> list[Server]:
    """Those that were looked at; none where that could not be found out."""
    if done.inventory is None or not done.servers:
        return []
    return [server for server in get_fleet(done.inventory).servers if server.name in done.servers]


def find_target(text: str | None) -> Target | None:
    """Raises click's own error, whose exit status is 2: 1 would say that a server has a problem."""
    try:
        return parse_target(text) if text else None
    except DsopsError as error:
        raise click.UsageError(f"{error}\n  mend: {error.mend}") from error


@contextmanager
def show_progress() -> Iterator[Tick]:
    """On a terminal: a bar for the bundle, which is the longest; nothing is left of it."""
    console = Console(stderr=True)
    columns = SpinnerColumn(), TextColumn("looking at servers and bundle"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda read, total: bar.update(task, total=total, advance=read)
