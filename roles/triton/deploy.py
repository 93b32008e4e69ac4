"""Triton: the server's runtime and its slots a and b, one systemd instance each."""

from pathlib import Path

from pyinfra.api import deploy

from roles.ops.accounts import account
from roles.ops.bundle import bundle_tree
from roles.ops.files import Owner, config_file, folders, render
from roles.ops.site import settings
from roles.triton.defaults import Triton

HERE = Path(__file__).parent
START = "/opt/dsops/bin/dsops-triton"
UNIT = "/etc/systemd/system/triton@.service"


@deploy("triton")
def triton() -> None:
    """Installs Triton; the engine role brings a release to it and starts a slot."""
    said = settings(Triton)
    account(name="triton: account", user="triton", home="/nonexistent")
    bundle_tree("triton", "/opt/dsops/triton")
    wanted = {
        "/opt/dsops/bin": Owner("755"),
        "/opt/dsops/engines": Owner("755"),
    }
    folders(name="triton: folders", wanted=wanted)
    start = (HERE / "templates/dsops-triton").read_text()
    config_file(name="triton: start script", path=START, content=start, owner=Owner("755"))
    service = render(HERE / "templates/triton@.service.j2", said=said)
    config_file(name="triton: unit", path=UNIT, content=service)
