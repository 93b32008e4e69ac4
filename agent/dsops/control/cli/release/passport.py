"""`dsops release passport NODE`: what a release shows on a node in several runs, signed and kept."""

import json
import time
from pathlib import Path

import click
from rich.console import Console

from dsops.control.bundle.checkout import find_root
from dsops.control.bundle.place import told_in_words
from dsops.control.bundle.sign import SITE_NAMESPACE, Signer, get_signer, sign
from dsops.control.cli.release.options import FOLDER, LAB, NODES
from dsops.control.cli.release.papers import get_folder, name_file, read_paper
from dsops.control.cli.release.show import render_paper
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import inventory_option, who
from dsops.control.fleet.releases import choose_servers, find_active, read_releases
from dsops.control.fleet.ssh import run_node
from dsops.control.progress import Steps
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.passport import Measurement, Passport, make_passport

# A big model loads for many minutes, and several times.
MEASURE_SECONDS = 4 * 3600.0
RUNS = click.IntRange(0, 20)


@click.command()
@click.argument("node", type=NODES)
@click.option("--cold", type=RUNS, default=1, show_default=True, help="Runs after a fresh start of the slot.")
@click.option("--warm", type=RUNS, default=2, show_default=True, help="Runs without one.")
@click.option("--signer", type=FOLDER, help="The folder with the signing key. Default: build/signer, or the lab's.")
@inventory_option
def passport(node: str, cold: int, warm: int, signer: Path | None, inventory: Path) -> None:
    """Let NODE's release answer all its golden prompts several times, sign what it showed, and keep it as its passport.

    On a drained node each cold run starts the slot afresh, from the disk; on any other the proof that gave the release
    its traffic counts as the one cold run. Nobody else may ask meanwhile: `dsops drain NODE --wait 60` sees to it.

    There is one passport for each kind of hardware. `dsops release push` sends them along, `dsops release show` tells
    them, and a node refuses traffic to a release that does not meet the one for its hardware.
    """
    fleet = get_fleet(inventory)
    (server,) = choose_servers(fleet, [node])
    namespace = server.get("bundle_namespace", str, SITE_NAMESPACE)
    key = get_signer(signer or choose_folder(fleet, namespace), namespace=namespace)
    with Steps(Console(stderr=True)) as steps:
        steps.start(f"{cold} cold and {warm} warm runs on {server.name}")
        made = measure(fleet, server, cold=cold, warm=warm)
    file = keep(made, get_folder(fleet) / name_file(made.release, made.hardware), signer=key)
    paper = read_paper(fleet, server, file, release=made.release)
    click.echo("\n".join([made.release, *render_paper(paper), f"  {file}"]))
    click.echo(f"next: dsops release push {made.release}")


def measure(fleet: Fleet, server: Server, *, cold: int, warm: int) -> Passport:
    """Asks the node's own door. Raises DsopsError with its refusal."""
    words = ["release", "measure", "--cold", str(cold), "--warm", str(warm), "--who", who(), "--reason", "a passport"]
    measured = parse_measurement(run_node(fleet, server, words, timeout=MEASURE_SECONDS), where=server.name)
    active = find_active(read_releases(fleet, server))
    engine = active.engine if active and active.release == measured.release else ""
    return make_passport(measured, node=server.name, engine=engine, made_at=time.time())


def parse_measurement(text: str, *, where: str) -> Measurement:
    """From the JSON of `dsops node release measure`. Raises DsopsError."""
    try:
        data = json.loads(text)
    except ValueError as error:
        mend = "run the same dsops version here and on the node (`dsops deploy`)"
        raise DsopsError("what it measured cannot be read", where=where, mend=mend) from error
    return decode(Measurement, data, where=where)


def choose_folder(fleet: Fleet, namespace: str) -> Path:
    """Where the signing key lies unless it is said."""
    return find_root(fleet.root) / "build/signer" if namespace == SITE_NAMESPACE else LAB / "secrets"


def keep(made: Passport, file: Path, *, signer: Signer) -> Path:
    """Writes the passport and its signature; the last one for such hardware counts."""
    with told_in_words(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(made.render())
        sign(file, signer.for_releases)
    return file
