"""`dsops init`: writes an inventory to edit, and says what to do next."""

import re
from pathlib import Path

import click

from dsops.control.bundle.checkout import find_root
from dsops.core.errors import DsopsError

TEMPLATES = Path(__file__).parents[1] / "templates"
NAME = re.compile(r"[a-z][a-z0-9_-]*")
# group_data/<name>.py would speak of other servers than this inventory's; `example` is never found by itself.
TAKEN = ("all", "lb", "gpu", "mon", "lab", "metal", "example")


@click.command()
@click.argument("name", default="site")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder that holds inventory/. Default: the checkout around this folder.",
)
def init(name: str, folder: Path | None) -> None:
    """Write inventory/NAME.py and inventory/group_data/NAME.py, to be edited. NAME: `site` when not given."""
    check_name(name)
    made = write_inventory(folder or get_checkout(), name=name)
    for path in made:
        click.echo(f"made {path}")
    click.echo(render_next(name, inventory=made[0]))


def get_checkout() -> Path:
    """The one around this folder. Raises DsopsError when there is none."""
    try:
        return find_root(Path())
    except DsopsError as error:
        raise DsopsError(error.what, where=error.where, mend="cd into the checkout, or give --dir") from error


def check_name(name: str) -> None:
    """Raises DsopsError when it cannot be an inventory's."""
    if not NAME.fullmatch(name):
        mend = "use small letters, digits, - and _"
        raise DsopsError(f"{name!r} cannot name an inventory", mend=mend)
    if name in TAKEN:
        raise DsopsError(f"{name!r} has a meaning of its own in group_data/", mend="choose another name, such as site")


def render_inventory(name: str) -> str:
    """The text of inventory/<name>.py."""
    return (TEMPLATES / "inventory.txt").read_text().replace("@name@", name)


def render_group_data(name: str) -> str:
    """The text of inventory/group_data/<name>.py."""
    return (TEMPLATES / "group_data.txt").read_text().replace("@name@", name)


def write_inventory(folder: Path, *, name: str) -> tuple[Path, Path]:
    """Writes both files, or none when one is there already."""
    inventory = folder / "inventory" / f"{name}.py"
    group_data = folder / "inventory/group_data" / f"{name}.py"
    for path in (inventory, group_data):
        if path.exists():
            raise DsopsError("is there already, and is not overwritten", where=str(path), mend="choose another name")
    group_data.parent.mkdir(parents=True, exist_ok=True)
    for path, text in ((inventory, render_inventory(name)), (group_data, render_group_data(name))):
        with path.open("x") as stream:
            stream.write(text)
    return inventory, group_data


def render_next(name: str, *, inventory: Path) -> str:
    """What is left to do, in order."""
    keep = f"/etc/dsops-site/{name}"
    return f"""
Next:
  1. Edit both: names, addresses, agent_gpus, paths. Secrets go to {keep}, out of git:
       install -d -m 700 {keep}
       ssh-keygen -t ed25519 -N '' -f {keep}/deploy_ed25519    (its .pub: root's authorized_keys on every server)
  2. Pin every server's host key. At its console or BMC, and from here; the two lines must be the same:
       ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
       ssh-keyscan -t ed25519 ADDRESS | tee new-key | ssh-keygen -lf -
     Only then: cat new-key >> {keep}/known_hosts
  3. dsops secrets -i {inventory}
  4. dsops bundle verify BUNDLE --allowed-signers {keep}/allowed_signers
  5. dsops doctor -i {inventory}
  6. dsops deploy -i {inventory}    (all but the release: the servers wait until they are accepted)
  7. dsops accept -i {inventory}    (measures them, and signs what it found: docs/accept.md)
  8. dsops deploy -i {inventory}    (the first release comes in)"""
