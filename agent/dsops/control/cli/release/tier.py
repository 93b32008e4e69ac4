"""`dsops release cool` and `heat`: moves a release between the hot and the cold tier of nodes. No traffic moves."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from dsops.control.cli.release.options import NODES, RELEASE
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import inventory_option, who
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.releases import Listed, choose_servers, get_copy_timeout, read_all
from dsops.control.fleet.ssh import run_node
from dsops.control.progress import render_bytes
from dsops.core.errors import DsopsError
from dsops.core.tiers import Tier, render_seconds

A_WEEK = 7 * 86400.0
REASON = click.option("--reason", required=True, help="Why; kept in the nodes' history.")
Holder = tuple[Server, Listed]


@click.command()
@click.argument("release", type=RELEASE)
@click.argument("nodes", nargs=-1, type=NODES)
@click.option("--keep-hot", is_flag=True, help="Only copy: the hot tier goes on holding it as well.")
@REASON
@inventory_option
def cool(release: str, nodes: tuple[str, ...], keep_hot: bool, reason: str, inventory: Path) -> None:
    """Move RELEASE to the cold tier of NODES; without a name, of all that hold it hot.

    It is copied, read back and hashed there before anything goes from the hot tier. What is in use, and the ways back
    that must be quick, a node refuses. It stays a way back, only a slower one. Run again after a cut, it goes on.

    Exit status: 0 it lies cold there, 1 a node refused.
    """
    fleet = get_fleet(inventory)
    holders = find_holders(fleet, release, nodes, tiers=(Tier.HOT, Tier.BOTH), wanted="on the hot tier")
    words = ["release", "cool", release, *(["--keep-hot"] if keep_hot else [])]
    went = move(fleet, holders, words, reason=reason, doing=f"{release} is copied, read back and hashed")

    def render(said: dict[str, Any]) -> str:
        return "lies cold as well" if keep_hot else f"lies cold, {render_bytes(int(said['freed']))} came free"

    leave(went, release, render)


@click.command()
@click.argument("release", type=RELEASE)
@click.argument("nodes", nargs=-1, type=NODES)
@REASON
@inventory_option
def heat(release: str, nodes: tuple[str, ...], reason: str, inventory: Path) -> None:
    """Bring RELEASE back to the hot tier of NODES; without a name, of all that hold it cold only.

    Each byte is proven by hash. `dsops release activate` and `dsops rollback` do so by themselves; this is for doing
    it beforehand. Run again after a cut, it goes on.

    Exit status: 0 it lies hot there, 1 a node refused.
    """
    fleet = get_fleet(inventory)
    holders = find_holders(fleet, release, nodes, tiers=(Tier.COLD,), wanted="on the cold tier only")
    for server, one in holders:
        about = "" if one.copy_seconds is None else f", about {render_seconds(one.copy_seconds)}"
        click.echo(f"{server.name}: {render_bytes(one.bytes)} at most are copied{about}")
    words = ["release", "heat", release]
    went = move(fleet, holders, words, reason=reason, doing=f"{release} is copied from the cold tier")
    leave(went, release, lambda said: f"lies hot, {render_bytes(int(said['bytes']))} were copied")


def find_holders(
    fleet: Fleet, release: str, nodes: Sequence[str], *, tiers: Sequence[str], wanted: str
) -> list[Holder]:
    """The nodes that are meant, with what each says. Raises DsopsError when one cannot be asked, or none is meant."""
    asked = read_all(fleet, choose_servers(fleet, nodes))
    for outcome in asked:
        if outcome.error:
            raise outcome.error
    found = [(o.server, one) for o in asked for one in o.value or () if one.release == release]
    meant = [(server, one) for server, one in found if one.tier in tiers]
    if nodes and len(meant) < len(asked):
        lacking = [o.server.name for o in asked if o.server not in [server for server, _ in meant]]
        raise DsopsError(f"{', '.join(lacking)}: {release} is not {wanted} there", mend="`dsops release list`")
    if not meant:
        raise DsopsError(f"no node holds {release} {wanted}", mend="`dsops release list` shows where it is")
    return meant


def move(
    fleet: Fleet, holders: Sequence[Holder], words: Sequence[str], *, reason: str, doing: str
) -> list[Outcome[dict[str, Any]]]:
    """On all nodes at once, each with its own disk."""
    listed = {server.name: one for server, one in holders}
    said = [*words, "--who", who(), "--reason", reason, "--json"]

    def ask(server: Server) -> dict[str, Any]:
        timeout = get_copy_timeout(listed[server.name])
        answer: dict[str, Any] = json.loads(run_node(fleet, server, said, timeout=timeout).splitlines()[-1])
        return answer

    with Console(stderr=True).status(doing):
        return ask_all([server for server, _ in holders], ask, deadline=A_WEEK)


def leave(went: Sequence[Outcome[dict[str, Any]]], release: str, render: Callable[[dict[str, Any]], str]) -> None:
    """One line a node; exit status 1 when one refused."""
    for outcome in went:
        if outcome.value is not None:
            click.echo(f"{outcome.server.name}: {release} {render(outcome.value)}, {render_seconds(outcome.seconds)}")
            continue
        click.echo(f"{outcome.server.name}: {release} cannot: {outcome.reason}")
        if outcome.error and outcome.error.mend:
            click.echo(f"  mend: {outcome.error.mend}")
    raise SystemExit(1 if any(outcome.error for outcome in went) else 0)
