"""`dsops verify`: every server against what its roles promise, by the roles' own verify.py."""

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import click

from dsops.control.bundle.checkout import find_root
from dsops.control.fleet.inventory import Fleet, get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.core.errors import DsopsError


@click.command()
@inventory_option
@click.option("--limit", multiple=True, metavar="NODE", help="Only this server or group; may be given more than once.")
@click.option("-v", "verbose", is_flag=True, help="Show every check, not only those that fail or are skipped.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="The checkout.")
def verify(inventory: Path, limit: tuple[str, ...], verbose: bool, root: Path) -> None:
    """Check every server against what its roles promise. Changes nothing."""
    root = find_root(root)
    fleet = get_fleet(inventory)
    for name in limit:
        fleet.check_name(name)
    check_tools()
    argv = render_command(fleet, limit=limit, verbose=verbose)
    click.echo(f"[$ {shlex.join(argv)}]")
    raise SystemExit(subprocess.run(argv, cwd=root, check=False).returncode)


def check_tools() -> None:
    """Raises DsopsError when what runs the checks is not installed here."""
    for name in ("pytest", "testinfra"):
        if importlib.util.find_spec(name) is None:
            raise DsopsError(f"`dsops verify` needs {name}", mend="pip install pytest pytest-testinfra")


def render_command(fleet: Fleet, *, limit: tuple[str, ...], verbose: bool) -> list[str]:
    """The pytest command line; it runs in the checkout."""
    argv = [sys.executable, "-m", "pytest", "roles", "-o", "python_files=verify.py", "--no-header", "--tb=short", "-rs"]
    argv += ["-v" if verbose else "-q", "-p", "no:cacheprovider", "--inventory", str(fleet.path)]
    return [*argv, *(word for name in limit for word in ("--limit", name))]
