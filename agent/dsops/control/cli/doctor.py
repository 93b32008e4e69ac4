"""`dsops doctor`: all that stands in a deploy's way, at once, before it starts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dsops.control.cli.status import make_console
from dsops.control.doctor.checkup import Outside, Tick, check_all
from dsops.control.doctor.egress import Target, parse_target
from dsops.control.doctor.finding import decide_exit
from dsops.control.doctor.probe import look
from dsops.control.doctor.summary import to_data
from dsops.control.doctor.view import render
from dsops.core.errors import DsopsError


@click.command()
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
    inventory: Path | None, as_json: bool, limit: tuple[str, ...], root: Path | None, probe_egress: str | None
) -> None:
    """Say all that stands in a deploy's way, before it starts. Changes nothing.

    All servers are asked at once, by one login and one command each.

    Exit status: 0 nothing does (warnings and what was skipped do not), 1 problems, 2 no problem, but not everything
    could be looked at. --json: one object with `ok`, `exit`, `summary`, `failures` and `warnings` (a sentence each),
    and `findings` (check, where, status, what, mend).
    """
    target = find_target(probe_egress)
    by = Outside(look=partial(look, egress=target), egress=target)
    with show_progress() as tick:
        done = check_all(inventory, root=root, limit=limit, tick=tick, by=by)
    if as_json:
        click.echo(json.dumps(to_data(done.findings, inventory=done.inventory), ensure_ascii=False))
    else:
        make_console().print(render(done.findings, inventory=done.inventory, servers=done.servers))
    raise SystemExit(decide_exit(done.findings))


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
