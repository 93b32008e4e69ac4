"""`dsops rollout status` and `list`: the picture of the one that is active or was last, and the past ones."""

import json
import time
from pathlib import Path

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dsops.control.cli.rollout.options import Site, open_site
from dsops.control.cli.status import make_console
from dsops.control.fleet.options import inventory_option, state_option
from dsops.control.rollout.memory import parse_memory
from dsops.control.rollout.run import read_rollout
from dsops.control.rollout.store import Kept
from dsops.control.rollout.view import render, render_controller, render_log, render_memory, render_past, to_data
from dsops.core.errors import DsopsError

NEVER = "There was no rollout of this inventory yet: `dsops rollout start RELEASE`."


@click.command()
@click.argument("number", type=int, required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.option("--watch", is_flag=True, help="Again and again until Ctrl-C.")
@click.option("--lines", "-n", type=click.IntRange(0, 1000), default=8, show_default=True, help="Of its log.")
@state_option
@inventory_option
def status(number: int | None, as_json: bool, watch: bool, lines: int, state: Path, inventory: Path) -> None:
    """Show the rollout: lanes of each node, samples, what the gates say, what comes next, and why it holds.

    Without NUMBER the active one, else the last. Asks no node: this is what its controller saw and wrote down.
    """
    site = open_site(inventory, state)
    if as_json:
        click.echo(json.dumps(read(site, number, lines=lines), ensure_ascii=False))
        return
    console = make_console()
    if not watch:
        console.print(draw(site, number, lines=lines, console=console))
        return
    with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while True:
            live.update(draw(site, number, lines=lines, console=console), refresh=True)
            time.sleep(2.0)


def read(site: Site, number: int | None, *, lines: int) -> dict[str, object]:
    """For machines."""
    kept = find(site, number)
    memory = parse_memory(site.store.read_fleet())
    log = site.store.read_lines(kept.id, limit=lines) if kept else ()
    return to_data(kept, read_rollout(kept) if kept else None, memory, site.holder, log)


def draw(site: Site, number: int | None, *, lines: int, console: Console) -> RenderableType:
    """For people."""
    kept, at = find(site, number), time.time()
    memory = render_memory(parse_memory(site.store.read_fleet()), at=at)
    if kept is None:
        return Group(*(Text(line) for line in [NEVER, *memory]))
    rollout = read_rollout(kept)
    below = [render_controller(site.holder, rollout), *memory]
    below += ["", *render_log(site.store.read_lines(kept.id, limit=lines))] if lines else []
    picture = render(rollout, at=at if kept.ended is None else kept.ended, width=console.width)
    return Group(picture, *(Text(line) for line in below))


def find(site: Site, number: int | None) -> Kept | None:
    """The one that was named, else the active one, else the last. Raises DsopsError on a number that is none."""
    if number is None:
        return site.store.find_active() or next(iter(site.store.list(limit=1)), None)
    if kept := site.store.find(number):
        return kept
    raise DsopsError(f"there is no rollout {number} of this inventory", mend="`dsops rollout list`")


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.option("-n", "limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="So many at most.")
@state_option
@inventory_option
def list_rollouts(as_json: bool, limit: int, state: Path, inventory: Path) -> None:
    """List this inventory's rollouts, the newest first."""
    found = open_site(inventory, state).store.list(limit=limit)
    if as_json:
        click.echo(json.dumps({"rollouts": [to_row(kept) for kept in found]}, ensure_ascii=False))
        return
    if not found:
        click.echo(NEVER)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("number", "begun", "release", "came to", "took", "who"):
        table.add_column(column, no_wrap=column not in ("came to",))
    table.add_column("why", overflow="fold")
    for kept in found:
        table.add_row(*(escape(word) for word in render_past(kept)))
    make_console().print(table)


def to_row(kept: Kept) -> dict[str, object]:
    """For machines."""
    return {
        "number": kept.id,
        "release": kept.release,
        "who": kept.who,
        "reason": kept.reason,
        "began": kept.began,
        "ended": kept.ended,
        "outcome": kept.outcome,
        "epoch": kept.epoch.number,
    }
