"""`dsops plan`: what a deploy would change, restart, reboot and open, as a change ticket, and as a file to apply."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from dsops.control.bundle.checkout import find_root
from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.control.plan.keep import write_plan
from dsops.control.plan.make import make_plan
from dsops.control.plan.page import WIDTH, render

UNSEEN = 2


@click.command()
@inventory_option
@click.option("--limit", multiple=True, metavar="NODE", help="Only this server or group; may be given more than once.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The plan's file. Default: build/plans/ID.json."
)
@click.option(
    "--max-unavailable", type=click.IntRange(min=1), help="Servers of a pool that change at once. Default: a tenth."
)
@click.option("--full", is_flag=True, help="All lines of all differences.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines: the same as in the file.")
@click.option(
    "--root", type=click.Path(path_type=Path, file_okay=False), help="The checkout. Default: the inventory's own."
)
def plan(
    inventory: Path,
    limit: tuple[str, ...],
    out: Path | None,
    max_unavailable: int | None,
    full: bool,
    as_json: bool,
    root: Path | None,
) -> None:
    """Say what a deploy would change, restart, reboot and open. Changes nothing.

    The page is for people who decide; the file is for `dsops apply`, which does this and nothing else.

    \b
    Exit status: 0 the plan is whole (also when nothing would change)
                 2 not every server could be looked at
    """
    fleet = get_fleet(inventory)
    root = find_root(root or fleet.root)
    with show_looking("looking at the servers"):
        made = make_plan(root, fleet, limit=limit, asked=max_unavailable)
    path = write_plan(made, out, root=root)
    if as_json:
        click.echo(made.to_json(), nl=False)
    else:
        make_console().print(render(made, file=render_path(path), full=full))
    raise SystemExit(UNSEEN if made.unseen else 0)


def make_console() -> Console:
    """A page is 100 columns wide, also in a file or a pipe; on a narrow terminal as wide as that."""
    console = Console(highlight=False, soft_wrap=False)
    return Console(highlight=False, width=min(console.width, WIDTH) if console.is_terminal else WIDTH)


@contextmanager
def show_looking(what: str) -> Iterator[None]:
    """On a terminal something that turns; nothing is left of it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def render_path(path: Path) -> str:
    """As one would type it from here."""
    here = Path.cwd()
    return str(path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else path)
