"""`dsops release passport NODE`: what a node measured when it proved its release, signed and kept."""

from pathlib import Path

import click

from dsops.control.bundle.checkout import find_root
from dsops.control.bundle.place import told_in_words
from dsops.control.bundle.sign import SITE_NAMESPACE, Signer, get_signer, sign
from dsops.control.cli.release.options import FOLDER, LAB, NODES, get_passport_file
from dsops.control.cli.release.show import find_listed, render_passport
from dsops.control.fleet.http import read_status
from dsops.control.fleet.inventory import Fleet, get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.control.fleet.releases import choose_servers, read_releases
from dsops.core.passport import Passport, make_passport


@click.command()
@click.argument("node", type=NODES)
@click.option("--signer", type=FOLDER, help="The folder with the signing key. Default: build/signer, or the lab's.")
@inventory_option
def passport(node: str, signer: Path | None, inventory: Path) -> None:
    """Take from NODE what its release showed there (answers, load time, speed), sign it, and keep it.

    `dsops release push` sends it along, and `dsops release show` tells it.
    """
    fleet = get_fleet(inventory)
    (server,) = choose_servers(fleet, [node])
    namespace = server.get("bundle_namespace", str, SITE_NAMESPACE)
    key = get_signer(signer or choose_folder(fleet, namespace), namespace=namespace)
    status = read_status(server, timeout=5)
    listed = find_listed(read_releases(fleet, server), status.proof.release if status.proof else "")
    made = make_passport(status, engine=listed.engine if listed else "")
    file = keep(made, get_passport_file(fleet, made.release), signer=key)
    click.echo("\n".join([made.release, *render_passport(made), f"  {file}"]))


def choose_folder(fleet: Fleet, namespace: str) -> Path:
    """Where the signing key lies unless it is said."""
    return find_root(fleet.root) / "build/signer" if namespace == SITE_NAMESPACE else LAB / "secrets"


def keep(made: Passport, file: Path, *, signer: Signer) -> Path:
    """Writes the passport and its signature; the last one of a release counts."""
    with told_in_words(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(made.render())
        sign(file, signer.for_releases)
    return file
