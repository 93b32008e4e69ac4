"""`dsops key`: API keys of the service, kept as salted hashes."""

from pathlib import Path

import click

from dsops.control.secrets import add_api_key, read_api_keys
from dsops.core.errors import DsopsError

FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def key() -> None:
    """Add and list API keys. `dsops deploy` brings the file to the gateways."""


@key.command()
@click.argument("name")
@click.option("--file", "path", type=FILE, required=True, help="The inventory's gateway_api_keys_file.")
def add(name: str, path: Path) -> None:
    """Make a key and print it once; only its salted hash is kept."""
    click.echo(add_api_key(path, name=name))


@key.command("list")
@click.option("--file", "path", type=FILE, required=True, help="The inventory's gateway_api_keys_file.")
def list_keys(path: Path) -> None:
    """Print the names."""
    if not path.exists():
        raise DsopsError("no such file of keys", where=str(path), mend="`dsops key add NAME --file ...` makes it")
    for held in read_api_keys(path):
        click.echo(held.name)
