"""`dsops apply PLAN`: does what a plan says, wave by wave, and stops at the first gate that fails."""

import sys
from pathlib import Path

import click

from dsops.control.bundle.checkout import find_root
from dsops.control.cli.plan import make_console, render_path, show_looking
from dsops.control.fleet.inventory import Fleet, get_fleet
from dsops.control.fleet.options import who
from dsops.control.plan.apply import AGAIN, Orders, Run, check_now, one_at_a_time
from dsops.control.plan.doors import RealDoors
from dsops.control.plan.dry import choose_servers, look
from dsops.control.plan.keep import Notes, read_plan
from dsops.control.plan.origin import find_other, read_origin
from dsops.control.plan.page import render_waves
from dsops.control.plan.reboot import Pace
from dsops.core.errors import DsopsError
from dsops.core.gates import Gate, Progress
from dsops.core.plan import Plan

SAID_NO = 130


@click.command()
@click.argument("plan", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
@click.option(
    "--max-unavailable", type=click.IntRange(min=1), help="Servers of a pool that change at once. Default: the plan's."
)
@click.option("--reboot", is_flag=True, help="Reboot, within the waves, the servers whose roles ask for it.")
@click.option(
    "--reboot-timeout",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    help="Seconds until a server must have come back.",
)
@click.option("--allow-outage", is_flag=True, help="Also the last server of a pool may leave the traffic.")
@click.option("--quick", is_flag=True, help="Instead of `dsops verify`: each server's agent says that all is well.")
def apply(
    plan: Path,
    yes: bool,
    max_unavailable: int | None,
    reboot: bool,
    reboot_timeout: float,
    allow_outage: bool,
    quick: bool,
) -> None:
    """Do what PLAN says, wave by wave, and stop at the first gate that fails.

    Refuses when servers, inventory, bundle, roles or dsops itself are not as they were when the plan was made. For
    each wave: enough others serve, gpu servers are drained, pyinfra runs, the agents say that all is well, traffic is
    let in again, `dsops verify` is content. On a fresh site `dsops verify` comes once, after its last server, for it
    looks at the others too. A second apply of the same plan goes on where the first one stopped.

    \b
    Exit status: 0   every server is as planned
                 1   refused, or a gate failed; those after it were not touched
                 130 you said no
    """
    read = read_plan(plan)
    fleet = get_fleet(Path(read.origin.inventory))
    root = find_root(Path(read.origin.checkout))
    orders = Orders(max_unavailable, reboots=reboot, outage=allow_outage, quick=quick)
    with one_at_a_time():
        notes = Notes(read, plan, who=who())
        done = check(read, root, fleet, notes)
        left = [server.name for server in read.changed if server.name not in done]
        if not left:
            click.echo(f"Every server is as {read.id} wants it; nothing was done.")
            return
        doors = RealDoors(root, fleet, f"dsops apply {read.id}", Pace(reboot_timeout))
        run = Run(read, orders, doors, notes, click.echo)
        made = f"{read.id} of {read.made_at} by {read.who}: {len(left)} servers to change, {len(done)} done."
        make_console().print(made, render_waves(read, run.make_waves()))
        if not yes and not ask(left):
            click.echo("Nothing was changed.")
            raise SystemExit(SAID_NO)
        notes.add("apply" + (f", {len(done)} done before" if done else ""))
        progress = run.go(done)
    click.echo(render_end(run, progress, file=render_path(plan)))
    raise SystemExit(1 if progress.stop else 0)


def check(plan: Plan, root: Path, fleet: Fleet, notes: Notes) -> frozenset[str]:
    """The servers that are done. Raises DsopsError when anything is another one than was planned with."""
    if other := find_other(plan.origin, read_origin(root, fleet, limit=plan.origin.limit)):
        raise DsopsError(other, where=plan.id, mend=f"nothing was changed; {AGAIN}")
    with show_looking("looking whether all is as it was"):
        seen = look(root, fleet, choose_servers(fleet, plan.origin.limit))
    return check_now(plan, seen.dry.changes, seen.unseen, notes)


def ask(left: list[str]) -> bool:
    """The one question. Raises DsopsError when nobody is there to answer."""
    try:
        return click.confirm(f"Change {len(left)} server{'s' * (len(left) > 1)}?", default=False)
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        raise DsopsError("nobody answered, so nothing was changed", mend="add --yes in a script") from error


def render_end(run: Run, progress: Progress, *, file: str) -> str:
    """What was done, what not, and how to go on."""
    done = [name for wave in progress.waves for name in wave if name in progress.done]
    lines = [f"{len(done)} of {sum(map(len, progress.waves))} servers are as planned: {', '.join(done) or 'none'}."]
    if stop := progress.stop:
        lines = [f"STOPPED in wave {progress.number + 1} at {stop.gate}: {stop.why}", *lines]
        begun = [name for name in progress.left if name not in progress.untouched]
        lines += [f"Begun, and not done: {', '.join(begun)}."] if begun else []
        lines += [f"Not touched: {', '.join(progress.untouched)}."] if progress.untouched else []
        if run.notes.noted.drained:
            lines.append(f"Left out of traffic: {', '.join(run.notes.noted.drained)} (`dsops undrain NODE`).")
        lines.append(f"  mend: {_find_mend(stop.gate)}; then `dsops apply {file}` goes on from here")
    if run.waiting:
        rows = ", ".join(f"{name} ({', '.join(roles)})" for name, roles in run.waiting.items())
        lines.append(f"Wait for a reboot: {rows}; `dsops plan` and `dsops apply --reboot`, or one by one by hand.")
    return "\n".join(lines)


def _find_mend(gate: Gate) -> str:
    return {
        Gate.ROOM: "bring the others back (`dsops status`), or agree to an outage with --allow-outage",
        Gate.DRAIN: "see `dsops status` and `dsops logs NODE`",
        Gate.RUN: "mend what the words above name",
        Gate.REBOOT: "bring the server back at its console or BMC",
        Gate.WELL: "see `dsops status` and `dsops why NODE`",
        Gate.VERIFY: "mend what the words above name (--quick asks the agents alone, where a dead peer is known)",
        Gate.ADMIT: "see `dsops status` and `dsops why NODE`",
    }[gate]
