"""`dsops restore FILE`: brings a control host's state back, so that nodes believe it again."""

import time
from pathlib import Path

import click

from dsops.control.audit import tell
from dsops.control.fleet.options import state_option, who
from dsops.control.rollout.backup import RAISE, render_time
from dsops.control.rollout.backup import restore as bring_back
from dsops.core.audit import Act, Kind


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--replace", is_flag=True, help="Put what is there aside, instead of refusing.")
@state_option
def restore(file: Path, replace: bool, state: Path) -> None:
    """Bring back what `dsops backup` saved in FILE, on this machine or on another one.

    The epochs are raised, since commands that came after the backup took numbers that it does not know, and this
    control host gets a new name: nodes believe it from its next command on, and the one that it replaces no more.
    """
    said = bring_back(state, file, replace=replace, at=time.time())
    made = said.backup
    was = f"the backup of {render_time(made.made_at)}; epochs were raised, and it is {said.holder} now"
    tell(Act(time.time(), Kind.DONE, "restore", who(), f"{file.name} of {made.host}", evidence=was))
    click.echo(f"The backup that {made.who} made on {made.host} at {render_time(made.made_at)} is back in {state}.")
    for inventory, number in said.epochs.items():
        click.echo(f"  epoch {number} of {inventory}")
    click.echo(f"This control host is {said.holder} now. A node that heard over {RAISE} commands since refuses it:")
    click.echo('  `dsops epoch adopt NODE --reason "control host restored"`')
    for one in said.active:
        click.echo(f"{one} was under way when the backup was made. What it did since is not known here:")
        click.echo("  `dsops status` first, then `dsops rollout resume`, or `dsops rollout abort --reason ...`")
    click.echo("Secrets were not in it: bring the files back that the inventory names.")
