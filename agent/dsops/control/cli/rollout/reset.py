"""`dsops rollout reset`: a person ends the fleet's halt, or takes a release off its bad list."""

import time
from pathlib import Path

import click

from dsops.control.cli.release.options import RELEASE
from dsops.control.cli.rollout.options import REASON, open_site
from dsops.control.fleet.epoch import read_epoch
from dsops.control.fleet.options import inventory_option, state_option, who
from dsops.control.rollout.memory import parse_memory
from dsops.control.rollout.memory import reset as reset_memory
from dsops.control.rollout.notes import noting


@click.command()
@REASON
@click.option("--unmark", default="", type=RELEASE, metavar="RELEASE", help="Take it off the fleet's bad list, too.")
@state_option
@inventory_option
def reset(reason: str, unmark: str, state: Path, inventory: Path) -> None:
    """End a halt of the fleet, after its cause was found. Nothing ends it by itself.

    Nodes that marked a release bad by themselves still refuse it: `dsops release unmark-bad`.
    """
    site = open_site(inventory, state)
    was = parse_memory(site.store.read_fleet())

    def change(text: str) -> str:
        return reset_memory(parse_memory(text), who=who(), reason=reason, at=time.time(), unmark=unmark).to_json()

    with noting(site.fleet.path, "rollout reset", why=reason, to=unmark) as note:
        note.epoch = read_epoch(state, inventory=site.fleet.path)
        note.add(f"it was halted: {was.halted}" if was.halted else "")
        bad = was.find_bad(unmark)
        note.add(f"{unmark} was on the bad list: {bad.reason}" if bad else "")
        site.store.change_fleet(change)
    if was.halted:
        click.echo(f"the fleet is not halted any more (it was: {was.halted})")
    if unmark:
        click.echo(f"{unmark} is off the fleet's bad list; nodes that marked it: `dsops release unmark-bad {unmark}`")
    if kept := site.store.find_active():
        site.store.tell(kept, f"the halt was reset: {reason}", who=who(), at=time.time())
