"""`dsops release compare A B`: two releases side by side, by what nodes counted and what their passports say."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from dsops.control.cli.release.options import NODES, RELEASE
from dsops.control.cli.release.papers import read_papers
from dsops.control.cli.status import make_console
from dsops.control.fleet.http import get
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.releases import choose_servers
from dsops.control.progress import Steps
from dsops.core.compare import Row, Side, compare, make_side
from dsops.core.errors import DsopsError
from dsops.core.samples import Samples

SECONDS = 5.0


@click.command("compare")
@click.argument("a", type=RELEASE)
@click.argument("b", type=RELEASE)
@click.argument("nodes", nargs=-1, type=NODES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@inventory_option
def compare_releases(a: str, b: str, nodes: tuple[str, ...], as_json: bool, inventory: Path) -> None:
    """Put the figures of releases A and B side by side: requests since their counters began, and both passports.

    It reads what the agents of NODES, or of all gpu servers, counted. Times are only held against each other where
    one node served both: as a canary beside the active release. Nothing is changed and nothing decided.

    Exit status: 0 all nodes were asked, 1 some could not be.
    """
    if a == b:
        raise DsopsError(f"{a} twice: there is nothing to compare", where="A and B", mend="`dsops release list`")
    fleet = get_fleet(inventory)
    servers = choose_servers(fleet, nodes)
    with Steps(Console(stderr=True)) as steps:
        steps.start(f"asking {len(servers)} nodes")
        asked = ask_all(servers, read_samples, deadline=SECONDS + 5)
    echo_trouble(asked)
    samples = [outcome.value for outcome in asked if outcome.value]
    sides = [find_side(fleet, servers[0], release, samples) for release in (a, b)]
    for side in sides:
        if not side.counted and not side.passports:
            what = (
                f"nobody knows anything of {side.release}: no node counted a request to it, and it has no passport here"
            )
            raise DsopsError(what, mend="`dsops release list` shows what nodes hold; `dsops release passport NODE`")
    rows = compare(*sides)
    if as_json:
        click.echo(json.dumps(to_data(rows, a=a, b=b, asked=asked), ensure_ascii=False))
    else:
        make_console().print(render(rows, a=a, b=b))
    raise SystemExit(0 if len(samples) == len(asked) else 1)


def read_samples(server: Server) -> Samples:
    """What the node's agent counted. Raises DsopsError."""
    where = f"{server.address}:{server.agent_port}"
    return Samples.from_json(get(server.address, server.agent_port, "/v1/samples", timeout=SECONDS), where=where)


def find_side(fleet: Fleet, server: Server, release: str, samples: Sequence[Samples]) -> Side:
    """One release's figures. A passport that is not good counts for nothing, and is said."""
    papers = read_papers(fleet, release, server=server)
    for paper in papers:
        if paper.error:
            click.echo(f"left out: {paper.error}", err=True)
    return make_side(release, samples, [paper.passport for paper in papers if paper.passport])


def render(rows: Sequence[Row], *, a: str, b: str) -> Table:
    """One row a figure."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    for title in (f"A {a}", f"B {b}"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for row in rows:
        table.add_row(row.name, row.a, row.b, row.says)
    return table


def echo_trouble(asked: Sequence[Outcome[Samples]]) -> None:
    """The nodes that could not be asked."""
    for outcome in asked:
        if outcome.error:
            click.echo(f"{outcome.server.name} cannot be asked: {outcome.error}", err=True)
            if outcome.error.mend:
                click.echo(f"  mend: {outcome.error.mend}", err=True)


def to_data(rows: Sequence[Row], *, a: str, b: str, asked: Sequence[Outcome[Samples]]) -> dict[str, object]:
    """The same for machines."""
    nodes = [{"node": one.server.name, "reason": one.reason, "asked": one.value is not None} for one in asked]
    return {"a": a, "b": b, "nodes": nodes, "rows": [asdict(row) for row in rows]}
