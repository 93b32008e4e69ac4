"""`dsops undrain NODE`: lets traffic in again."""

from pathlib import Path

import click

from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import NodeName, inventory_option, who
from dsops.control.fleet.ssh import run_node


@click.command()
@click.argument("node", type=NodeName())
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@inventory_option
def undrain(node: str, as_json: bool, inventory: Path) -> None:
    """Lets traffic to NODE again, after `dsops drain`."""
    fleet = get_fleet(inventory)
    words = ["undrain", "--who", who(), *(["--json"] if as_json else [])]
    said = run_node(fleet, fleet.get_server(node), words, timeout=15)
    click.echo(said.strip() if as_json else f"{node}: {said.strip()}")
