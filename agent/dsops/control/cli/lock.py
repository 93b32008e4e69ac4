"""`dsops lock`: who runs a rollout from here, and how to take it away from a controller that is stuck."""

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from dsops.control.fleet.epoch import take_epoch
from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import inventory_option, state_option, who
from dsops.control.rollout.backup import render_time
from dsops.control.rollout.lock import Holder, break_lock, describe_holder, find_holders, find_lock, read_holder
from dsops.control.rollout.notes import noting
from dsops.control.rollout.store import Store
from dsops.core.errors import DsopsError


@click.group()
def lock() -> None:
    """Show or break the locks of this control host.

    One rollout of an inventory is run by one process, which holds a lock that is free the moment it dies. What keeps
    two of them from giving orders at once is the epoch: nodes refuse the older one.
    """


@lock.command("ls")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@state_option
def list_locks(as_json: bool, state: Path) -> None:
    """List the locks, of all inventories: who holds each, since when, and whether that process lives."""
    found = find_holders(state)
    if as_json:
        click.echo(json.dumps({"locks": [{"path": str(path), **asdict(holder)} for path, holder in found]}))
        return
    for path, holder in found:
        click.echo(render(holder))
        click.echo(f"  {holder.inventory or path}")
    if not found:
        click.echo(f"No rollout was ever run from here ({state}).")


def render(holder: Holder) -> str:
    """One line."""
    if not holder.held:
        return f"free; last held by {holder.who} (process {holder.pid} on {holder.host}) for {holder.what}"
    return f"held by {describe_holder(holder)} since {render_time(holder.since)}, for {holder.what}"


@lock.command("break")
@click.option("--reason", required=True, help="Why; kept in the rollout's history.")
@click.option("--i-know", is_flag=True, help="Also of a process that lives: it is fenced off by the next epoch.")
@state_option
@inventory_option
def break_(reason: str, i_know: bool, state: Path, inventory: Path) -> None:
    """Take the lock from a controller that is stuck, such as one that was stopped. Nodes refuse it from then on.

    A lock whose process is dead is free already. `dsops rollout resume` goes on afterwards.
    """
    fleet = get_fleet(inventory)
    path = find_lock(state, fleet.path)
    with noting(fleet.path, "lock break", why=reason) as note:
        holder = get_held(path, i_know=i_know)
        note.add(f"held by {describe_holder(holder)} for {holder.what}")
        # The fence first: whoever is stopped between the two has lost its say already.
        note.epoch = take_epoch(state, inventory=fleet.path)
        break_lock(path)
    store, number = Store(state, fleet.path), note.epoch.number
    if kept := store.find_active():
        says = f"the lock of {describe_holder(holder)} was broken: {reason} (epoch {number})"
        store.tell(kept, says, who=who(), at=time.time())
    click.echo(f"{describe_holder(holder)} has no say any more, from epoch {number} on; `dsops rollout resume`")


def get_held(path: Path, *, i_know: bool) -> Holder:
    """Who holds it. Raises DsopsError when nobody does, or when it lives and nobody said that they know."""
    holder = read_holder(path)
    if holder is None or not holder.held:
        raise DsopsError("nobody holds it", where=str(path), mend="`dsops rollout resume` takes it")
    if not i_know:
        mend = f"`dsops rollout pause` or `abort`, or `kill {holder.pid}`; if it hears neither, add --i-know"
        raise DsopsError(f"{describe_holder(holder)} lives and holds it", where=str(path), mend=mend)
    return holder
