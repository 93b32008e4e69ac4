"""`dsops rollout pause`, `resume` and `abort`: heard by the controller that runs, else done here."""

import time
from pathlib import Path

import click

from dsops.control.cli.rollout.detach import DETACH, detach
from dsops.control.cli.rollout.options import (
    EVERY,
    REASON,
    WITHOUT_ALERTS,
    get_active,
    leave_order,
    make_doors,
    open_site,
    run_rollout,
)
from dsops.control.fleet.options import inventory_option, state_option, who
from dsops.control.rollout.lock import hold_rollout
from dsops.control.rollout.notes import Note, noting
from dsops.control.rollout.run import Runner, build_runner, read_rollout
from dsops.control.rollout.store import Kept
from dsops.control.rollout.view import render_before, render_line
from dsops.core.rollout_events import Abort, Pause, Resume
from dsops.core.rollout_state import Status


@click.command()
@REASON
@state_option
@inventory_option
def pause(reason: str, state: Path, inventory: Path) -> None:
    """Stop the rollout where it is: no node gets more of the release. `dsops rollout resume` goes on.

    The gates go on judging as long as a controller runs, and each node goes on watching its own canary.
    """
    site = open_site(inventory, state)
    with noting(site.fleet.path, "rollout pause", why=reason) as note:
        kept = get_active(site)
        describe(note, kept)
        if site.is_run:
            leave_order(site, kept, "pause", who=who(), reason=reason)
        else:
            with hold_rollout(state, site.fleet.path, who=who(), what=f"pause of rollout {kept.id}"):
                kept = site.store.take_over(who=who(), says="paused by hand, no controller ran", at=time.time())
                describe(note, kept)
                doors = make_doors(site, read_rollout(kept), who=who(), alerts=False)
                runner = build_runner(site.store, kept, doors, tell=click.echo, show=lambda *_: None)
                runner.take(Pause(time.time(), who(), reason), who=who())
    click.echo(f"rollout {kept.id} is paused; `dsops rollout resume` goes on")


@click.command()
@click.option("--reason", default="goes on", show_default=True, help="Why; kept in the rollout's history.")
@WITHOUT_ALERTS
@DETACH
@EVERY
@state_option
@inventory_option
def resume(reason: str, without_alerts: bool, in_background: bool, every: float, state: Path, inventory: Path) -> None:
    """Go on: after a pause, after --hold-at, without lost nodes, or in the place of a controller that is gone.

    Where a controller runs, it is told. Where none does, this one takes its place from what it wrote down last, with
    the next epoch; a rollout that was paused goes on as well, anything else that holds it wants a second `resume`.
    """
    site = open_site(inventory, state)
    if in_background and not site.is_run:
        detach(site, get_active(site).id, reason=reason, without_alerts=without_alerts, every=every)
        return

    def first(runner: Runner) -> None:
        if runner.rollout.status is Status.PAUSED:
            runner.take(Resume(time.time(), who(), reason), who=who())

    with noting(site.fleet.path, "rollout resume", why=reason) as note:
        kept = get_active(site)
        describe(note, kept)
        if site.is_run:
            leave_order(site, kept, "resume", who=who(), reason=reason)
            click.echo(f"rollout {kept.id} goes on")
            return
        with hold_rollout(state, site.fleet.path, who=who(), what=f"rollout {kept.id} of {kept.release}"):
            kept = site.store.take_over(who=who(), says=f"a controller takes over: {reason}", at=time.time())
            describe(note, kept)
            note.tell()
            doors = make_doors(site, read_rollout(kept), who=who(), alerts=not without_alerts)
            raise SystemExit(run_rollout(site, kept, doors, every=every, first=first))


@click.command()
@REASON
@EVERY
@state_option
@inventory_option
def abort(reason: str, every: float, state: Path, inventory: Path) -> None:
    """Take the release back: every node that has it returns to the one that it had. Nothing is copied.

    Said again while nodes do not answer, it ends without them.
    """
    site = open_site(inventory, state)

    def first(runner: Runner) -> None:
        runner.take(Abort(time.time(), who(), reason), who=who())

    with noting(site.fleet.path, "rollout abort", why=reason) as note:
        kept = get_active(site)
        describe(note, kept)
        if site.is_run:
            leave_order(site, kept, "abort", who=who(), reason=reason)
            click.echo(f"rollout {kept.id} is being taken back: `dsops rollout status`")
            return
        with hold_rollout(state, site.fleet.path, who=who(), what=f"abort of rollout {kept.id}"):
            kept = site.store.take_over(who=who(), says="aborted by hand, no controller ran", at=time.time())
            describe(note, kept)
            note.tell()
            doors = make_doors(site, read_rollout(kept), who=who(), alerts=False)
            raise SystemExit(run_rollout(site, kept, doors, every=every, first=first))


def describe(note: Note, kept: Kept) -> None:
    """What the audit is to know of the rollout, with the epoch that counts for this verb."""
    rollout = read_rollout(kept)
    ways = render_before(rollout), kept.release
    note.leaves, note.to = reversed(ways) if note.verb == "rollout abort" else ways
    note.evidence, note.epoch = f"rollout {kept.id}, {render_line(rollout)}", kept.epoch
