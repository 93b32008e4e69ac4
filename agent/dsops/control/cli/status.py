"""`dsops status`: the whole fleet in one table."""

import json
import time
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from dsops.control.fleet.inventory import Fleet, get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.control.fleet.view import read_fleet, render, to_data


@click.command()
@inventory_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@click.option("--watch", is_flag=True, help="Again and again until Ctrl-C.")
@click.option("--every", type=click.FloatRange(min=0.2), default=2.0, show_default=True, help="Seconds, with --watch.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds a server has.")
def status(inventory: Path, as_json: bool, watch: bool, every: float, timeout: float) -> None:
    """What every server does now: release, phase, condition, GPUs, speed."""
    fleet = get_fleet(inventory)
    if watch:
        show_again(fleet, as_json=as_json, every=every, timeout=timeout)
    else:
        show(fleet, as_json=as_json, timeout=timeout)


def show(fleet: Fleet, *, as_json: bool, timeout: float) -> None:
    """Once."""
    seen = read_fleet(fleet, timeout=timeout)
    if as_json:
        click.echo(json.dumps(to_data(fleet, seen)))
    else:
        console = make_console()
        console.print(render(fleet, seen, width=console.width))


def show_again(fleet: Fleet, *, as_json: bool, every: float, timeout: float) -> None:
    """In place on a terminal, one below the other elsewhere."""
    console = make_console()
    if as_json or not console.is_terminal:
        while True:
            show(fleet, as_json=as_json, timeout=timeout)
            time.sleep(every)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            seen = read_fleet(fleet, timeout=timeout)
            live.update(render(fleet, seen, width=console.width), refresh=True)
            time.sleep(every)


def make_console() -> Console:
    """The terminal's; in a pipe or file wide enough that no row is cut."""
    console = Console(highlight=False, soft_wrap=False)
    return console if console.is_terminal else Console(highlight=False, width=200)
