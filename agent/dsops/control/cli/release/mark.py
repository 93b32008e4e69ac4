"""`dsops release unmark-bad` and `confirm-bad`: a person's word on a release that nodes refuse."""

from collections.abc import Sequence
from pathlib import Path

import click

from dsops.control.cli.release.options import NODES, RELEASE
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import inventory_option, who
from dsops.control.fleet.parallel import ask_all
from dsops.control.fleet.releases import SECONDS, choose_servers, read_all
from dsops.control.fleet.ssh import run_node
from dsops.core.errors import DsopsError

REASON = click.option("--reason", required=True, help="Why; kept in the nodes' history.")


@click.command("unmark-bad")
@click.argument("release", type=RELEASE)
@click.argument("nodes", nargs=-1, type=NODES)
@REASON
@inventory_option
def unmark_bad(release: str, nodes: tuple[str, ...], reason: str, inventory: Path) -> None:
    """Let NODES take RELEASE again; without a name all that marked it bad."""
    mark("unmark-bad", release, nodes=nodes, reason=reason, inventory=inventory)


@click.command("confirm-bad")
@click.argument("release", type=RELEASE)
@click.argument("nodes", nargs=-1, type=NODES)
@REASON
@inventory_option
def confirm_bad(release: str, nodes: tuple[str, ...], reason: str, inventory: Path) -> None:
    """Keep RELEASE refused on NODES until somebody unmarks it; without a name on all that marked it bad."""
    mark("confirm-bad", release, nodes=nodes, reason=reason, inventory=inventory)


def mark(verb: str, release: str, *, nodes: Sequence[str], reason: str, inventory: Path) -> None:
    """Says it to each node; exit status 1 when one did not take it."""
    fleet = get_fleet(inventory)
    servers = choose_servers(fleet, nodes) if nodes else find_marked(fleet, release)
    words = ["release", verb, release, "--who", who(), "--reason", reason]
    asked = ask_all(servers, lambda server: run_node(fleet, server, words, timeout=SECONDS), deadline=SECONDS + 10)
    for outcome in asked:
        said = "cannot" if outcome.error else ("may come again" if verb == "unmark-bad" else "stays out")
        click.echo(f"{outcome.server.name}: {release} {said}" + (f": {outcome.error}" if outcome.error else ""))
        if outcome.error and outcome.error.mend:
            click.echo(f"  mend: {outcome.error.mend}")
    raise SystemExit(1 if any(outcome.error for outcome in asked) else 0)


def find_marked(fleet: Fleet, release: str) -> list[Server]:
    """The nodes that refuse it. Raises DsopsError when none does, or one could not be asked."""
    asked = read_all(fleet, choose_servers(fleet, ()))
    for outcome in asked:
        if outcome.error:
            raise outcome.error
    marked = [o.server for o in asked if any(one.release == release and one.bad for one in o.value or ())]
    if not marked:
        bad = sorted({one.release for outcome in asked for one in outcome.value or () if one.bad})
        raise DsopsError(f"no node has marked {release} bad", mend=f"marked: {', '.join(bad) or 'none'}")
    return marked
