"""Engine: its Python, the bundle's release in the store, and the active slot running with what it reads now."""

import json
from pathlib import Path

from pyinfra.api import deploy

from roles.engine.defaults import Engine
from roles.engine.release import activated, held, mended
from roles.ops.bundle import BUNDLE, bundle_path, bundle_sums, bundle_tree
from roles.ops.packages import install_packages
from roles.ops.python import environment
from roles.ops.site import settings
from roles.ops.slot import slot
from roles.ops.systems import get_host_system
from roles.triton.defaults import Triton


def release_id(bundle: Path) -> str:
    """The release that a bundle carries."""
    return str(json.loads((bundle / "bundle.json").read_text())["release"])


@deploy("engine")
def engine() -> None:
    """Brings the bundle's release in, and gives it the traffic unless this server knows it already."""
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
    release = release_id(bundle_path())
    source = f"releases/{release}"
    mended(name="engine: the store's links")
    held(
        name=f"engine: release {release}",
        release=release,
        source=str(bundle_path() / source),
        sums=bundle_sums(source),
        _timeout=3600,
    )
    seconds = settings(Triton).triton_load_seconds
    # One node after the other: while one proves a release or restarts a slot, the others carry the traffic.
    activated(name="engine: release in use", release=release, seconds=seconds, _serial=True, _timeout=seconds + 180)
    slot(
        name="engine: active slot",
        inputs=["/opt/dsops/bin/dsops-triton", f"/opt/dsops/engines/{name}/venv"],
        seconds=seconds,
        _serial=True,
        _timeout=seconds + 300,
    )
