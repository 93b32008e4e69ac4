"""Engine: its Python, the bundle's release in slot a, the lanes that lead there, and the slot running."""

import json

from pyinfra.api import deploy

from roles.engine.defaults import Engine
from roles.ops.bundle import BUNDLE, bundle_path, bundle_sums, bundle_tree
from roles.ops.files import link
from roles.ops.packages import install_packages
from roles.ops.python import environment
from roles.ops.site import settings
from roles.ops.slot import slot
from roles.ops.systems import get_host_system
from roles.triton.defaults import Triton

LANES = ("l1", "l4", "l20", "l25", "l50")
SLOT = "a"


def release_id() -> str:
    """The release that the bundle carries."""
    return str(json.loads((bundle_path() / "bundle.json").read_text())["release"])


@deploy("engine")
def engine() -> None:
    """Brings the bundle's release to slot a. Lanes that already lead somewhere are the store's and stay."""
    name = settings(Engine).engine_name
    part = f"wheels/engine-{name}"
    install_packages(role="engine")
    bundle_tree(part)
    environment(
        name=f"engine: {name}",
        path=f"/opt/dsops/engines/{name}/venv",
        version=bundle_sums(part).id,
        requirements=[f"{BUNDLE}/{part}"],
        python=get_host_system().python,
        _timeout=600,
    )
    release = release_id()
    path = f"/var/lib/dsops/releases/{release}"
    bundle_tree(f"releases/{release}", path)
    for lane in LANES:
        link(name=f"engine: lane {lane}", path=f"/var/lib/dsops/lanes/{lane}", target=f"../slots/{SLOT}", keep=True)
    seconds = settings(Triton).triton_load_seconds
    # One node after the other: while a slot restarts, its node is drained and the others carry the traffic.
    slot(
        name=f"engine: slot {SLOT}",
        path=f"/var/lib/dsops/slots/{SLOT}",
        target=f"../releases/{release}",
        unit=f"triton@{SLOT}.service",
        inputs=["/opt/dsops/bin/dsops-triton", f"/opt/dsops/engines/{name}/venv"],
        ready="http://127.0.0.1:8100/v2/health/ready",
        seconds=seconds,
        _serial=True,
        _timeout=seconds + 180,
    )
