"""`dsops release list`: what the nodes hold."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape
from rich.table import Table

from dsops.control.cli.release.options import NODES
from dsops.control.cli.status import make_console
from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.control.fleet.parallel import Outcome
from dsops.control.fleet.releases import Listed, choose_servers, read_all
from dsops.control.progress import render_bytes
from dsops.core.tiers import render_seconds

ORDER = ("active", "canary", "fallback", "held", "bad")


@click.command("list")
@click.argument("nodes", nargs=-1, type=NODES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@inventory_option
def list_releases(nodes: tuple[str, ...], as_json: bool, inventory: Path) -> None:
    """What NODES hold, or all gpu servers: which release has the traffic, which ones are a way back, what is bad.

    \b
    tier       where it lies: hot, cold, or both
    to serve   how it would come to serve, and how soon:
               warm slot  it runs still
               hot        it must load
               cold       it must be copied to the hot tier, and load
    passport   fits       it has one for this node's hardware
               other      it has some, of other hardware: the node refuses it
               none       it has none, and needs none
               missing    it has none, and this site demands one
               damaged    none fits, and one cannot be read

    Exit status: 0 all nodes were asked, 1 some could not be.
    """
    fleet = get_fleet(inventory)
    asked = read_all(fleet, choose_servers(fleet, nodes))
    if as_json:
        click.echo(json.dumps({"nodes": [to_data(outcome) for outcome in asked]}, ensure_ascii=False))
    else:
        make_console().print(render(asked))
        echo_trouble(asked)
    raise SystemExit(1 if any(outcome.error for outcome in asked) else 0)


def render(asked: Sequence[Outcome[tuple[Listed, ...]]]) -> Table:
    """One row a release and node; the one that has the traffic first."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("node", "release", "state", "slot", "model", "engine"):
        table.add_column(column, no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("tier", no_wrap=True)
    table.add_column("to serve", no_wrap=True)
    table.add_column("passport", no_wrap=True)
    table.add_column("", overflow="fold")
    for outcome in asked:
        for one in sorted(outcome.value or (), key=lambda one: (ORDER.index(one.state), -(one.since or 0.0))):
            model, size = f"{one.model} {one.quantization}".strip(), render_bytes(one.bytes)
            words = (outcome.server.name, one.release, one.state, one.slot or "-", model, one.engine, size)
            table.add_row(*words, one.tier, render_start(one), one.fit or "-", escape(render_remarks(one)))
    return table


def render_start(one: Listed) -> str:
    """How it would come to serve, and how soon; "-" for what serves, or when nobody could say."""
    return "-" if one.seconds is None else f"{one.way}, {render_seconds(one.seconds)}"


def render_remarks(one: Listed) -> str:
    """What an operator should know besides."""
    damage = [f"DAMAGED: {said}" for said in dict.fromkeys((one.damage, one.cold_damage)) if said]
    passport = [f"passport {one.fit_says}"] if one.fit in ("other", "missing", "damaged") else []
    return "; ".join([*(["the way back"] if one.back else []), *([one.bad] if one.bad else []), *passport, *damage])


def echo_trouble(asked: Sequence[Outcome[tuple[Listed, ...]]]) -> None:
    """The nodes that could not be asked, and what mends it."""
    for outcome in asked:
        if outcome.error:
            click.echo(f"{outcome.server.name} cannot be asked: {outcome.error}", err=True)
            if outcome.error.mend:
                click.echo(f"  mend: {outcome.error.mend}", err=True)


def to_data(outcome: Outcome[tuple[Listed, ...]]) -> dict[str, object]:
    """One node for machines; releases is null when it could not be asked."""
    held = None if outcome.value is None else [asdict(one) for one in outcome.value]
    return {"node": outcome.server.name, "reason": outcome.reason, "releases": held}
