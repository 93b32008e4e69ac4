"""`dsops secrets`: makes the keys and certificates that an inventory names."""

from pathlib import Path

import click

from dsops.control.fleet.options import get_fleet, inventory_option
from dsops.control.secrets import ensure_all


@click.command()
@inventory_option
def secrets(inventory: Path) -> None:
    """Make what is missing: internal CA, certificates, the operators' SSH key, an API key, monitoring's password.

    Files that are there are never touched: put your site's own certificate in place first, and it is used.
    """
    fleet = get_fleet(inventory)
    values = {key: str(value) for server in fleet.servers for key, value in server.data.items()}
    names: dict[str, list[str]] = {}
    for server in fleet.servers:
        for group in server.groups:
            names.setdefault(group, []).extend([server.name, server.address])
    made = ensure_all(values, names=names)
    for path in made:
        click.echo(f"made {path}")
    if not made:
        click.echo("nothing was missing")
