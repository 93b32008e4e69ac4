"""`dsops logs NODE`: the journal of dsops' units on one server."""

from pathlib import Path

import click

from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import NodeName, inventory_option
from dsops.control.fleet.ssh import run_node


@click.command()
@click.argument("node", type=NodeName())
@click.option("--unit", "-u", help="One unit only, e.g. triton@a or dsops-gateway.")
@click.option("-n", "--lines", type=click.IntRange(1, 100_000), default=50, show_default=True)
@inventory_option
def logs(node: str, unit: str | None, lines: int, inventory: Path) -> None:
    """The last lines of the journal on NODE."""
    fleet = get_fleet(inventory)
    words = ["logs", *([unit] if unit else []), "--lines", str(lines)]
    click.echo(run_node(fleet, fleet.get_server(node), words, timeout=30), nl=False)
