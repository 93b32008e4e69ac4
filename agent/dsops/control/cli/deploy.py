"""`dsops deploy`: runs pyinfra on the checkout, and echoes the line, so that it can be typed by hand."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import click

from dsops.control.audit import find_state, tell_deploy
from dsops.control.bundle.checkout import find_root
from dsops.control.fleet.inventory import Fleet
from dsops.control.fleet.options import get_fleet, inventory_option
from dsops.control.narrate import Narrator
from dsops.control.rollout.guard import render_hold
from dsops.core.errors import DsopsError

HOST_KEY = "SSH host key error"
HOST_KEY_MEND = """\
      mend: read the key's fingerprint at the server's console (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub);
            only if it is the new one, put it into the inventory's ssh_known_hosts_file"""


@click.command()
@inventory_option
@click.option("--limit", multiple=True, help="Only this server or group; may be given more than once.")
@click.option("--dry", is_flag=True, help="Show what would change, and change nothing.")
@click.option("-v", "verbose", count=True, help="Show what pyinfra does (-v, -vv).")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="The checkout.")
def deploy(inventory: Path, limit: tuple[str, ...], dry: bool, verbose: int, root: Path) -> None:
    """Provision the servers of an inventory. A second run changes nothing."""
    root = find_root(root)
    fleet = get_fleet(inventory)
    for name in limit:
        check_limit(fleet, name)
    argv = render_command(root, fleet.path, limit=limit, dry=dry, verbose=verbose)
    click.echo(f"[$ {shlex.join(argv)}]")
    code = run_raw(argv) if verbose or dry else run_told(argv)
    if not dry:
        tell_deploy(fleet.path, limit, code=code)
    raise SystemExit(code)


def check_limit(fleet: Fleet, name: str) -> None:
    """Raises DsopsError, with the nearest name, when a limit is neither a server nor a group."""
    if not any(name in server.groups for server in fleet.servers):
        fleet.get_server(name)


def render_command(root: Path, inventory: Path, *, limit: tuple[str, ...], dry: bool, verbose: int) -> list[str]:
    """The pyinfra command line for a whole site."""
    argv = [str(find_pyinfra()), "--chdir", str(root)]
    argv += ["--dry"] if dry else ["-y"]
    argv += [f"-{'v' * verbose}"] if verbose else []
    argv += [word for name in limit for word in ("--limit", name)]
    argv += render_hold(find_state(), inventory)
    return [*argv, str(inventory), "deploy/site.py"]


def find_pyinfra(folder: Path = Path(sys.executable).parent) -> Path:
    """The program beside this Python. Raises DsopsError when it is not installed there."""
    program = folder / "pyinfra"
    if not program.is_file():
        raise DsopsError("pyinfra is not installed", where=str(folder), mend="pip install 'dsops[control]'")
    return program


def run_raw(argv: list[str]) -> int:
    """Runs pyinfra with its own output."""
    return subprocess.run(argv, env=os.environ | environment(), check=False).returncode


def run_told(argv: list[str]) -> int:
    """Runs pyinfra and tells of it in one line an operation that changed something."""
    narrator, since = Narrator(), time.monotonic()
    environ = os.environ | {"PYINFRA_PROGRESS": "off"}
    pipe = subprocess.PIPE
    # What a server says need not be UTF-8.
    with subprocess.Popen(
        argv, env=environ, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        for line in process.stdout or ():
            for text in narrator.feed(line):
                click.echo(text)
                if HOST_KEY in text:
                    click.echo(HOST_KEY_MEND)
    for text in narrator.end():
        click.echo(text)
    click.echo(narrator.tally.render(time.monotonic() - since, code=process.returncode))
    return process.returncode


def environment() -> dict[str, str]:
    """No spinner where nobody looks at it."""
    return {} if sys.stdout.isatty() else {"PYINFRA_PROGRESS": "off"}
