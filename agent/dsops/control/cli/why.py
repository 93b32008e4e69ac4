"""`dsops why [NODE]`: the last decision of a node as a short story."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from dsops.control.fleet.http import read_decision
from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import NodeName, inventory_option
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.releases import choose_servers
from dsops.core.errors import DsopsError
from dsops.core.story import Decision, render_story

Told = Outcome[Decision | None]


@click.command()
@click.argument("node", required=False, type=NodeName())
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines; null when nothing was decided.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=3.0, show_default=True, help="Seconds a node has.")
@inventory_option
def why(node: str | None, as_json: bool, timeout: float, inventory: Path) -> None:
    """What NODE decided last: what it saw when, what that excludes, what it did, what comes next.

    Without NODE: a decision that is not over yet, else the newest of all nodes.
    """
    fleet = get_fleet(inventory)
    servers = choose_servers(fleet, [node] if node else [])
    told = ask_all(servers, lambda server: read_decision(server, timeout=timeout), deadline=timeout + 0.2)
    if node and told[0].error:
        raise told[0].error
    found = find_newest(told)
    if as_json:
        click.echo(json.dumps(found.to_data() if found else None, ensure_ascii=False))
        return
    lines = render_story(found, now=time.time()) if found else [render_nothing(told, node=node)]
    for line in [*lines, *render_silent(told)]:
        click.echo(line)


def find_newest(told: Sequence[Told]) -> Decision | None:
    """One that is not over goes before all that are; of several the newest. Pure."""
    found = [outcome.value for outcome in told if outcome.value]
    return max(found, key=lambda one: (one.ended is None and not one.outcome, one.began), default=None)


def render_nothing(told: Sequence[Told], *, node: str | None) -> str:
    """That there was no reason to decide anything. Raises DsopsError when nobody could be asked."""
    if all(outcome.error for outcome in told):
        raise DsopsError("no agent answers", mend="`dsops status`; `dsops history` also asks the stores over SSH")
    return f"{node or 'No node'} has had to decide {'nothing' if node else 'anything'} yet."


def render_silent(told: Sequence[Told]) -> list[str]:
    """Nodes that did not answer: their story may be the newest."""
    return [f"{outcome.server.name} does not answer: {outcome.reason}" for outcome in told if outcome.error]
