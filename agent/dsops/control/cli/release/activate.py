"""`dsops release activate ID`: gives a release the traffic, one node after the other."""

import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from dsops.control.cli.release.options import NODES, RELEASE
from dsops.control.fleet.epoch import take_epoch
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import inventory_option, state_option, who
from dsops.control.fleet.parallel import Outcome
from dsops.control.fleet.releases import Listed, choose_servers, find_active, get_copy_timeout, read_all
from dsops.control.fleet.ssh import run_node
from dsops.control.rollout.guard import check_forward
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch
from dsops.core.tiers import Tier, render_seconds

REASON = "a new release"


@click.command()
@click.argument("release", type=RELEASE)
@click.argument("nodes", nargs=-1, type=NODES)
@click.option("--reason", default=REASON, show_default=True, help="Why; kept in the nodes' history.")
@click.option("--wait", type=click.FloatRange(min=1), default=900.0, show_default=True, help="Seconds for each node.")
@click.option(
    "--without-passport", is_flag=True, help="Whatever its passports say of that hardware: to make one there."
)
@click.option("--uncertified", is_flag=True, help="Though a node was not accepted (`dsops accept`); with --reason.")
@state_option
@inventory_option
def activate(
    release: str,
    nodes: tuple[str, ...],
    *,
    reason: str,
    wait: float,
    without_passport: bool,
    uncertified: bool,
    state: Path,
    inventory: Path,
) -> None:
    """Give RELEASE the traffic on NODES, or on all gpu servers, one after the other.

    It starts beside the one that serves, answers its golden prompts, and only then gets the traffic; a node that
    refuses it keeps what it has, and the nodes after it are not touched. Where it lies on the cold tier it is copied
    to the hot one first.

    Exit status: 0 all have it, 1 a node refused it or could not be asked.
    """
    if uncertified and reason == REASON:
        mend = '--uncertified --reason "..."; it stands in the audit'
        raise DsopsError("--uncertified wants a reason", where="--reason", mend=mend)
    fleet = get_fleet(inventory)
    asked = read_all(fleet, choose_servers(fleet, nodes))
    todo = decide_activation(asked, release)
    for outcome in asked:
        if outcome.server not in todo:
            click.echo(f"{outcome.server.name}: has {release} already")
    if not todo:
        return
    check_forward(state, fleet.path, release)
    epoch = take_epoch(state, inventory=fleet.path)
    flags = [*(["--without-passport"] if without_passport else []), *(["--uncertified"] if uncertified else [])]
    for number, server in enumerate(todo):
        try:
            cold = find_cold(asked, server, release)
            seconds = activate_one(
                fleet,
                server,
                release,
                reason=reason,
                wait=wait,
                epoch=epoch,
                cold=cold,
                flags=flags,
            )
        except DsopsError as error:
            raise stop(error, done=todo[:number], left=todo[number + 1 :]) from error
        click.echo(f"{server.name}: {release} has the traffic, {seconds:.1f} s")
    click.echo("It is on trial for its bake window: `dsops status`; `dsops rollback` goes back.")


def decide_activation(asked: Sequence[Outcome[tuple[Listed, ...]]], release: str) -> list[Server]:
    """The servers that are to take it. Raises DsopsError when one could not: then none is touched. Pure."""
    for outcome in asked:
        if outcome.value is None:
            mend = "name the nodes that are to go on without it"
            raise DsopsError(f"{outcome.server.name} cannot be asked: {outcome.error}", mend=mend)
    lacking = [o.server.name for o in asked if release not in {one.release for one in o.value or ()}]
    if lacking:
        mend = f"`dsops release push {release} {' '.join(lacking)}`"
        raise DsopsError(f"{', '.join(lacking)} {'do' if len(lacking) > 1 else 'does'} not hold {release}", mend=mend)
    for outcome in asked:
        bad = next((one.bad for one in outcome.value or () if one.release == release and one.bad), None)
        if bad:
            mend = f'bring a new build, or `dsops release unmark-bad {release} --reason "..."`'
            raise DsopsError(f"{release} is marked bad on {outcome.server.name}: {bad}", mend=mend)
    return [outcome.server for outcome in asked if not has_it(outcome.value or (), release)]


def has_it(listed: Sequence[Listed], release: str) -> bool:
    """Whether it has the traffic there."""
    active = find_active(listed)
    return active is not None and active.release == release


def find_cold(asked: Sequence[Outcome[tuple[Listed, ...]]], server: Server, release: str) -> Listed | None:
    """What the server says of a release that it holds on the cold tier only."""
    held = (one for outcome in asked if outcome.server is server for one in outcome.value or ())
    return next((one for one in held if one.release == release and one.tier == Tier.COLD), None)


def activate_one(
    fleet: Fleet,
    server: Server,
    release: str,
    *,
    reason: str,
    wait: float,
    epoch: Epoch,
    cold: Listed | None = None,
    flags: Sequence[str] = (),
) -> float:
    """Waits until it has the traffic; the seconds that took. Raises DsopsError with the node's reason.

    cold: it lies on the cold tier there, and is copied first. flags: for the node's own verb.
    """
    words = ["release", "activate", release, "--who", who(), "--reason", reason]
    words += ["--epoch", str(epoch.number), "--holder", epoch.holder, "--wait", f"{wait:g}", "--json"]
    words += flags
    start = time.monotonic()
    console = Console(stderr=True)
    first = ""
    if cold:
        about = "" if cold.copy_seconds is None else f", about {render_seconds(cold.copy_seconds)}"
        click.echo(f"{server.name}: {release} lies on the cold tier and is copied first{about}")
        first = "is copied, "
    with console.status(f"{server.name}: {release} {first}starts beside the old one and is asked its golden prompts"):
        run_node(fleet, server, words, timeout=wait + 30 + (get_copy_timeout(cold) if cold else 0.0))
    return time.monotonic() - start


def stop(error: DsopsError, *, done: Sequence[Server], left: Sequence[Server]) -> DsopsError:
    """The node's refusal, and how far the others are."""
    have = f"; done: {', '.join(server.name for server in done)}" if done else ""
    untouched = f"; not touched: {', '.join(server.name for server in left)}" if left else ""
    # The node speaks of its own door; from here the same has another name.
    is_own = not error.mend or "`dsops node" in error.mend
    mend = f"`dsops history {error.where}`; `dsops logs {error.where}`" if is_own else error.mend
    return DsopsError(f"stopped here: {error.what}{have}{untouched}", where=error.where, mend=mend)
