"""`dsops drain NODE`: takes traffic away from one server, on purpose."""

from pathlib import Path

import click

from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import NodeName, inventory_option, who
from dsops.control.fleet.ssh import run_node
from dsops.core.errors import DsopsError


@click.command()
@click.argument("node", type=NodeName())
@click.option("--reason", required=True, help='Why, such as "new fans"; shown in `dsops status`.')
@click.option(
    "--wait",
    type=click.FloatRange(min=0, max=3600),
    default=0.0,
    help="Seconds to wait for requests in flight.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@inventory_option
def drain(node: str, reason: str, wait: float, as_json: bool, inventory: Path) -> None:
    """Takes new traffic away from NODE; what is in flight goes on. `dsops undrain` brings it back."""
    fleet = get_fleet(inventory)
    server = fleet.get_server(node)
    if server.role != "gpu":
        mend = f"drain one of {', '.join(one.name for one in fleet.find_role('gpu'))}"
        raise DsopsError(f"{node} takes no requests: it is {server.role}", where=str(fleet.path), mend=mend)
    words = [
        "drain",
        "--reason",
        reason,
        "--who",
        who(),
        "--wait",
        f"{wait:g}",
        *(["--json"] if as_json else []),
    ]
    said = run_node(fleet, server, words, timeout=wait + 15)
    click.echo(said.strip() if as_json else f"{node}: {said.strip()}")
