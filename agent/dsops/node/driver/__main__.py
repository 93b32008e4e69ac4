"""`python -m dsops.node.driver`: change the driver's set, judge this boot, say how it stands, clear a halt."""

import json
import sys
from dataclasses import asdict

import click

from dsops.core.drivers.boots import LIMIT, Act, forget
from dsops.core.errors import DsopsError
from dsops.node.driver.act import Driver
from dsops.node.run import run


@click.group()
def main() -> None:
    """The GPU driver of this server, as one set. To be run as root."""


@main.command()
@click.argument("name")
def change(name: str) -> None:
    """Install the set NAME from its folder here; a reboot makes it live."""
    click.echo(Driver(say=click.echo).change(name).says)


@main.command()
@click.option("--limit", default=LIMIT, show_default=True, help="Boots that may fail before it goes back.")
def gate(limit: int) -> None:
    """Judge this boot; goes back and reboots by itself when it must. Run by dsops-driver-gate.service."""
    if Driver(say=click.echo, limit=limit).judge_boot() is Act.REBOOT:
        click.echo("reboots")
        run(["systemctl", "--no-block", "reboot"], timeout=60)


@main.command()
def status() -> None:
    """What is installed, and what this node has seen of it, as JSON."""
    state = Driver().place.find_state()
    click.echo(json.dumps(asdict(state) if state else {}))


@main.command("forget")
def forget_() -> None:
    """Clear a halt, and what is marked bad: somebody looked."""
    place = Driver().place
    with place.locked():
        if state := place.find_state():
            click.echo(place.keep_state(forget(state)).says)


if __name__ == "__main__":
    try:
        main()
    except DsopsError as error:
        sys.exit(f"error: {error}" + (f"\n  mend: {error.mend}" if error.mend else ""))
