"""A guest with driver sets: its own bundle and inventory, and how a test waits for what the guest does by itself."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsops.lab.place import LAB

from tests.live.site import LAB as FOLDER
from tests.live.site import ROOT, dsops, ssh_to
from tests.metal.machine import BIN, Machine

OLD, NEW = "debian12-535.261.03", "debian12-535.309.01"
OLD_VERSION, NEW_VERSION = "535.261.03", "535.309.01"
BUNDLES = FOLDER / "driver-bundle"
SETS = "/var/lib/dsops/driver/sets"
PROGRAM = "/opt/dsops/venv/bin/python -I -m dsops.node.driver"
LOOK = 2.0
# A guest without KVM installs a set, makes an initramfs and boots twice in less.
PATIENCE = 1800.0


def build_bundle() -> Path:
    """The lab's bundle with both sets; packages and modules that were made once are kept in the lab's cache."""
    words = ("bundle", "build", "--lab", "--out", BUNDLES, "--lockset", OLD, "--lockset", NEW, "--json")
    done = dsops(*words, timeout=7200)
    assert done.returncode == 0, done.stdout + done.stderr
    return BUNDLES / "current"


def write_inventory(folder: Path, *, bundle: Path) -> Path:
    """As inventory/metal.py, with that bundle; which set is wanted stands in its group_data."""
    shutil.copytree(ROOT / "inventory", folder / "inventory", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "inventory/group_data/metal.py").open("a") as data:
        data.write(f'\nbundle_path = "{bundle}"\n')
    return folder / "inventory/metal.py"


@dataclass(frozen=True)
class DriverGuest(Machine):
    """A machine of the lab that is deployed with a driver set."""

    inventory: Path = Path()

    def want(self, name: str) -> None:
        """Names the set in the inventory, as an operator does."""
        data = self.inventory.parent / "group_data/metal.py"
        lines = [line for line in data.read_text().splitlines() if not line.startswith("driver_lockset")]
        data.write_text("\n".join([*lines, f'driver_lockset = "{name}"', ""]))

    def first_roles(self, *roles: str) -> list[str]:
        """The command line for base and driver."""
        argv = [BIN / "pyinfra", "--chdir", ROOT, "-y", "--limit", self.name, self.inventory]
        return [*map(str, argv), "tests/metal/driver_role.py"]

    def drift(self) -> list[str]:
        """What `dsops drift` says of the driver role here, in words."""
        done = dsops("drift", "-i", self.inventory, "--root", ROOT, "--limit", self.name, "--json", timeout=900)
        assert done.returncode == 1, done.stdout + done.stderr
        (server,) = json.loads(done.stdout)["servers"]
        return [
            detail["says"]
            for change in server["changes"]
            for detail in change["details"]
            if change["operation"] == "driver: set"
        ]

    def tell(self, path: str) -> dict[str, Any]:
        """A JSON file of the guest; nothing while it does not answer, or has none."""
        done = ssh_to(str(LAB.address(self.server)), f"cat {path}", timeout=30)
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else {}
        return found

    @property
    def state(self) -> dict[str, Any]:
        return self.tell("/var/lib/dsops/driver/state.json")

    def ask_boot(self) -> str:
        """This boot's id; empty while the guest does not answer."""
        done = ssh_to(str(LAB.address(self.server)), "cat /proc/sys/kernel/random/boot_id", timeout=30)
        return done.stdout.strip() if done.returncode == 0 else ""

    def wait_judged(self, is_it: Callable[[dict[str, Any]], bool], *, what: str) -> dict[str, Any]:
        """The gate's verdict of the boot that runs, once it is the one that is waited for."""
        since = time.monotonic()
        while True:
            said, boot = self.tell("/var/lib/dsops/driver/verdict.json"), self.ask_boot()
            if said and boot and said["boot"] == boot and is_it(said):
                return said
            assert time.monotonic() - since < PATIENCE, f"not {what} within {PATIENCE:g} s: {said}"
            time.sleep(LOOK)

    def reboot_freely(self) -> None:
        """Without waiting: the gate may reboot it again by itself."""
        ssh_to(str(LAB.address(self.server)), "systemctl reboot", timeout=30)

    def switch_on(self) -> None:
        """After a power cut, the same way: what `lab up` waits for may be cut by a reboot of the guest's own."""
        dsops("lab", "up", "--metal", self.name, timeout=900)
