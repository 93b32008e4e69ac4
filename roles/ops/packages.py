"""Debian packages from the bundle's own repository, and from nowhere else."""

from pathlib import Path

from pyinfra.api import deploy
from pyinfra.operations import apt, server

from roles.ops.bundle import BUNDLE, bundle_tree
from roles.ops.files import Owner, config_file

APT_CONF = "/etc/dsops/apt.conf"
ENV = {"APT_CONFIG": APT_CONF, "DEBIAN_FRONTEND": "noninteractive"}
ROLES = Path(__file__).parents[1]


def read_packages(role: str) -> list[str]:
    """The names in roles/<role>/packages.txt, which the bundle was built from too."""
    lines = (line.split("#")[0].strip() for line in (ROLES / role / "packages.txt").read_text().splitlines())
    return [line for line in lines if line]


@deploy("packages")
def install_packages(role: str) -> None:
    """Brings the role's repository to the server and installs its packages from the bundle's repositories only."""
    copied = bundle_tree(f"apt/{role}")
    source = f"deb [signed-by=/etc/dsops/apt-keyring.gpg] file:{BUNDLE}/apt/{role} ./\n"
    listed = config_file(
        name=f"{role}: apt source", path=f"/etc/dsops/apt.d/{role}.list", content=source, owner=Owner()
    )
    server.shell(
        name=f"{role}: apt reads the bundle",
        commands=[f"APT_CONFIG={APT_CONF} apt-get update -qq"],
        _if=lambda: copied.did_change() or listed.did_change(),
        _timeout=120,
    )
    apt.packages(name=f"{role}: packages", packages=read_packages(role), no_recommends=True, _env=ENV, _timeout=600)
