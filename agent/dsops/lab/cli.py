"""The verbs of `dsops lab`: parse, call one function, show."""

import json

import click
from rich.console import Console

from dsops.core.errors import DsopsError
from dsops.lab.down import down as lab_down
from dsops.lab.faults import FAULTS, render_list
from dsops.lab.faults import fault as lab_fault
from dsops.lab.place import LAB
from dsops.lab.progress import get_show
from dsops.lab.status import get_status, render_table
from dsops.lab.up import up as lab_up
from dsops.lab.up import up_metal as lab_up_metal


@click.group()
def lab() -> None:
    """Rehearsal servers on this machine: real systemd, no way out."""


@lab.command()
@click.option("--take-over", is_flag=True, help="Take the lab from the checkout that it belongs to.")
@click.option(
    "--metal", is_flag=True, help="Boot metal1 and metal2 instead: machines with kernel, disks and GRUB (qemu)."
)
@click.argument("names", nargs=-1, metavar="[GUEST]...", type=click.Choice([guest.name for guest in LAB.guests]))
def up(take_over: bool, metal: bool, names: tuple[str, ...]) -> None:
    """Boot the servers; what is there already stays as it is. With --metal, all guests or those that are named."""
    if names and not metal:
        raise DsopsError(f"{', '.join(names)}: a guest", mend=f"`dsops lab up --metal {' '.join(names)}`")
    show = get_show(Console())
    if metal:
        changed = lab_up_metal(LAB, show, names=names, take_over=take_over)
    else:
        changed = lab_up(LAB, show, take_over=take_over)
    click.echo("The lab is up." if changed else "The lab was up; nothing changed.")


@lab.command()
@click.option("--purge", is_flag=True, help="Delete the cached base system too.")
@click.option("--keep-disks", is_flag=True, help="Power off cleanly; the next `up` finds the servers as they were.")
@click.option("--take-over", is_flag=True, help="End a lab that belongs to another checkout.")
def down(purge: bool, keep_disks: bool, take_over: bool) -> None:
    """End the servers and delete their disks; no process, mount or link stays."""
    lab_down(LAB, get_show(Console()), purge=purge, keep_disks=keep_disks, take_over=take_over)
    click.echo("The lab is down.")


@lab.command()
@click.option("--json", "as_json", is_flag=True, help="The same, for programs.")
def status(as_json: bool) -> None:
    """What each server is doing, and what it tried to reach."""
    found = get_status(LAB)
    if as_json:
        click.echo(json.dumps(found.render_json(), indent=2))
    else:
        Console().print(render_table(found))


@lab.command(epilog="\b\n" + render_list())  # \b: the lines stay as they are
@click.argument("node", type=click.Choice([server.name for server in LAB.everyone]))
@click.argument("kind", metavar="FAULT", type=click.Choice(list(FAULTS)))
@click.argument("words", nargs=-1, metavar="[VALUE]...")
@click.option("--gpu", default=0, show_default=True, help="Which GPU, for faults of one.")
def fault(node: str, kind: str, words: tuple[str, ...], gpu: int) -> None:
    """Break a server on purpose; `mend` ends it, `dsops lab up` starts a dead one."""
    click.echo(f"{node}: {lab_fault(LAB, node, kind, words=words, gpu=gpu)}")
