"""Collects what a boot shows of the driver: PCI, kernel, module, libraries, packages, services, and its own answers."""

import re
from collections.abc import Callable
from pathlib import Path

from dsops.core.drivers import lockset as names
from dsops.core.drivers.gate import LIBRARIES, MANAGER, PERSISTENCED, Asked, Facts
from dsops.core.errors import DsopsError
from dsops.node.driver.ask import ask_patiently
from dsops.node.driver.modules import read_module
from dsops.node.driver.packages import find_held, find_installed
from dsops.node.driver.place import DriverSet, Place
from dsops.node.run import Runner

FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib")
VERSION = re.compile(r"\d+(?:\.\d+)+")
LINKS = 20


def look(place: Place, wanted: DriverSet, *, run: Runner, ask: Callable[[], Asked] = ask_patiently) -> Facts:
    """One look. Only where there is a GPU the modules are loaded, and NVML and CUDA asked."""
    lockset = wanted.lockset
    kernel = place.read("/proc/sys/kernel/osrelease")
    gpus = count_devices(place, names.GPU_CLASSES)
    asked = ask() if gpus else Asked()  # first: it loads what is looked at below
    module = read_module(place, lockset.modules[0], kernel, run=run)
    pins = list(wanted.carried.pins)
    return Facts(
        boot=read_boot(place),
        kernel=kernel,
        gpus=gpus,
        loaded=place.read("/sys/module/nvidia/version"),
        nouveau=(place / "/sys/module/nouveau").exists(),
        file=module["version"],
        fits=module["kernel"],
        libraries={name: find_library(place, name) for name in LIBRARIES},
        packages=find_installed(pins, run=run),
        held=find_held(run=run),
        services={unit: read_service(unit, run=run) for unit in (MANAGER, PERSISTENCED)},
        manager=read_manager(run=run) if lockset.fabric_manager else "",
        asked=asked,
    )


def read_boot(place: Place) -> str:
    """The kernel's word for this boot."""
    return place.read("/proc/sys/kernel/random/boot_id")


def count_devices(place: Place, classes: tuple[str, ...]) -> int:
    """NVIDIA's devices of these classes on PCI."""
    devices = sorted((place / "/sys/bus/pci/devices").glob("*"))
    texts = [(place.read(f"{path}/vendor"), place.read(f"{path}/class")) for path in _below(place, devices)]
    return sum(1 for vendor, kind in texts if vendor == names.VENDOR and kind.startswith(classes))


def _below(place: Place, paths: list[Path]) -> list[str]:
    return [f"/{path.relative_to(place.root)}" for path in paths]


def find_library(place: Place, name: str) -> str:
    """The version in the name of the file that a library's links lead to; "" when it is not there."""
    for folder in FOLDERS:
        path = follow(place, f"{folder}/{name}")
        if path and (match := VERSION.search(path.rpartition(".so.")[2])):
            return match[0]
    return ""


def follow(place: Place, path: str) -> str:
    """Where links lead to, those that begin with / within the root too; "" where nothing is."""
    for _ in range(LINKS):
        here = place / path
        if not here.is_symlink():
            return path if here.exists() else ""
        target = str(here.readlink())
        path = target if target.startswith("/") else f"{Path(path).parent}/{target}"
    return ""


def read_service(unit: str, *, run: Runner) -> str:
    """As systemd says it; "" where there is no such unit."""
    done = run(["systemctl", "show", "-p", "LoadState,ActiveState", unit])
    keys = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    return "" if keys.get("LoadState") != "loaded" else keys.get("ActiveState", "")


def read_manager(*, run: Runner) -> str:
    """What the Fabric Manager says its version is; "" where it is not there, or does not answer."""
    try:
        match = VERSION.search(run(["nv-fabricmanager", "--version"]).stdout)
    except DsopsError:
        return ""
    return match[0] if match else ""
