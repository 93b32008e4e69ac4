"""Swap: one file of a wanted size, in use now and after every boot, or none; other swap is left alone."""

import re
from pathlib import Path

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from roles.ops.files import config_file, render
from roles.ops.machine import is_container, skip
from roles.ops.site import settings
from roles.ops.sysctl import sysctl_file
from roles.swap.defaults import Swap
from roles.swap.file import in_use, room, swap_file, unwanted
from roles.swap.state import UNITS, unit_name

HERE = Path(__file__).parent
PATH = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")


@deploy("swap")
def swap() -> None:
    """Makes the server have the swap that the inventory asks for."""
    said = settings(Swap)
    if problem := find_problem(said):
        raise DeployError(f"{host.name}/{problem}\n  mend: see roles/swap/README.md; nothing was changed")
    if is_container():
        skip("swap", "a container pages out to its host's swap")
        return
    room(name="swap: room", said=said)
    if said.swap_gb:
        content = render(HERE / "templates/file.swap.j2", path=said.swap_file)
        config_file(name="swap: unit file", path=f"{UNITS}/{unit_name(said.swap_file)}", content=content)
        swap_file(name="swap: file", said=said, _timeout=1800)
        in_use(name="swap: in use", said=said)
    unwanted(name="swap: what is no longer wanted", said=said, _timeout=1800)
    sysctl_file(
        role="swap",
        path="/etc/sysctl.d/90-dsops-swap.conf",
        content=render(HERE / "templates/sysctl.conf.j2", swappiness=said.swap_swappiness),
    )


def find_problem(said: Swap) -> str:
    """What is wrong with the settings, `key: why`; empty when nothing is."""
    if said.swap_gb < 0 or said.swap_disk_reserve_gb < 0:
        key = "swap_gb" if said.swap_gb < 0 else "swap_disk_reserve_gb"
        return f"{key}: should be 0 or more GiB"
    if not 0 <= said.swap_swappiness <= 200:
        return f"swap_swappiness: should be 0 to 200, is {said.swap_swappiness}"
    if not PATH.fullmatch(said.swap_file) or said.swap_file.endswith(".dsops-new"):
        return f"swap_file: should be an absolute path of letters, digits, `.`, `_` and `-`, is {said.swap_file!r}"
    return ""
