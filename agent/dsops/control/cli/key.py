"""`dsops key`: API keys of the service, kept as salted hashes."""

from pathlib import Path

import click

from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.control.secrets import add_api_key, read_api_keys
from dsops.core.errors import DsopsError


def find_file(inventory: Path) -> Path:
    """The inventory's gateway_api_keys_file. Raises DsopsError when it names none."""
    fleet = get_fleet(inventory)
    for server in fleet.servers:
        if "gateway_api_keys_file" in server.data:
            return fleet.get_path(server, "gateway_api_keys_file")
    mend = "name the file in the inventory's group_data"
    raise DsopsError("gateway_api_keys_file is not set", where=str(inventory), mend=mend)


@click.group()
def key() -> None:
    """Add and list API keys. `dsops deploy` brings them to the gateways."""


@key.command()
@click.argument("name")
@inventory_option
def add(name: str, inventory: Path) -> None:
    """Make a key and print it once; only its salted hash is kept."""
    path = find_file(inventory)
    click.echo(add_api_key(path, name=name))
    click.echo(f"Shown once. Its hash is in {path}; `dsops deploy` brings it to the gateways.", err=True)


@key.command("list")
@inventory_option
def list_keys(inventory: Path) -> None:
    """Print the names."""
    path = find_file(inventory)
    if not path.exists():
        raise DsopsError("there are no keys yet", where=str(path), mend="`dsops secrets` or `dsops key add NAME`")
    for held in read_api_keys(path):
        click.echo(held.name)
