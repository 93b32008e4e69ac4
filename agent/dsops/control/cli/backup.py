"""`dsops backup FILE`: what this control host must not forget, in one file."""

import time
from pathlib import Path

import click

from dsops.control.fleet.options import state_option, who
from dsops.control.rollout.backup import back_up


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@state_option
def backup(file: Path, state: Path) -> None:
    """Save epochs, rollouts, halts, bad lists and the heads of the audit logs into FILE, for `dsops restore`.

    A consistent copy, made while others go on working. Secrets are not in it: keys, passwords and certificates lie
    where the inventory names them, and want a backup of their own; so do the inventory and the bundle.
    """
    made = back_up(state, file, who=who(), at=time.time())
    click.echo(f"{file}: {len(made.files)} files, {sum(one.size for one in made.files):,} bytes")
    for line in made.epochs:
        number, _, inventory = line.partition(" ")
        click.echo(f"  epoch {number} of {inventory}")
    click.echo("Not in it: secrets (the files that the inventory names), the inventory, the bundle.")
