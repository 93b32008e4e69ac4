"""Two real driver versions from Debian's archive on a machine with its own kernel: installed, held, left, taken back.

Real here: packages, pins and holds, modules built for the guest's exact kernel and refused by it for the right reason,
NVIDIA's own libraries, reboots, a power cut, and the gate's own way back. There is no GPU in the guest: the gate's
outcome is «no-gpu», and what only a GPU can say (module loaded, NVML, CUDA, fabric) is proven on recorded facts
(tests/core/drivers, tests/node/driver).
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.site import ROOT, dsops
from tests.metal.cuts import deploy_until
from tests.metal.drivers import (
    NEW,
    NEW_VERSION,
    OLD,
    OLD_VERSION,
    PROGRAM,
    SETS,
    DriverGuest,
    build_bundle,
    write_inventory,
)
from tests.metal.machine import Machine, timed

pytestmark = [pytest.mark.metal, pytest.mark.thorough, pytest.mark.timeout(7200)]
VERSIONS = "dpkg-query -W -f='${Package} ${Version}\\n' libcuda1 libnvidia-ml1 nvidia-smi nvidia-kernel-support"
MODULE = "/lib/modules/$(uname -r)/updates/dsops/nvidia-current.ko"


@pytest.fixture(scope="module")
def guest(metal1: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DriverGuest]:
    """A fresh machine; the tests below are one story, in their order."""
    with timed("bundle with two driver sets (modules built once)"):
        bundle = build_bundle()
    inventory = write_inventory(tmp_path_factory.mktemp("site"), bundle=bundle)
    machine = DriverGuest(metal1.name, inventory=inventory)
    machine.renew()
    yield machine
    dsops("lab", "fault", machine.name, "poweroff")


def check_whole(guest: DriverGuest, version: str) -> None:
    """All parts of the set are this version, held, and the module is for the kernel that runs."""
    packages = dict(line.split() for line in guest.on(VERSIONS).splitlines())
    assert {one.partition("-")[0] for one in packages.values()} == {version}
    assert set(packages) <= set(guest.on("apt-mark showhold").split())
    assert guest.on(f"modinfo -F version {MODULE}") == version
    assert guest.on(f"modinfo -F vermagic {MODULE}").split()[0] == guest.on("uname -r")
    libraries = guest.on(
        "readlink -f /usr/lib/x86_64-linux-gnu/libcuda.so.1 /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1"
    )
    assert all(line.endswith(f".so.{version}") for line in libraries.splitlines())
    assert not guest.on("dpkg --audit")


def test_a_set_is_installed_held_and_asks_for_a_reboot(guest: DriverGuest) -> None:
    guest.want(OLD)
    with timed(f"deploy of {OLD} on a fresh OS"):
        guest.deploy_first()
    check_whole(guest, OLD_VERSION)
    assert OLD in guest.on("cat /run/dsops-reboot/driver")
    policy = guest.on("apt-cache policy libcuda1")
    assert "1001" in policy


def test_after_the_reboot_the_gate_says_that_there_is_no_gpu_and_that_the_disk_is_one_set(guest: DriverGuest) -> None:
    with timed("reboot into a driver set"):
        guest.reboot()
    said = guest.wait_judged(lambda said: said["set"] == OLD, what="judged")
    assert (said["outcome"], said["stage"], said["faults"]) == ("no-gpu", "trial", [])
    assert guest.on("test -e /run/dsops-reboot/driver || echo none") == "none"
    assert guest.on("test -e /sys/module/nouveau || echo none") == "none"


def test_the_kernel_takes_the_module_and_the_module_finds_no_gpu(guest: DriverGuest) -> None:
    """It fits: symbols and vermagic were accepted, and its own start looked at PCI."""
    said = guest.on("modprobe nvidia 2>&1; dmesg | grep NVRM | tail -n 3")
    assert "No such device" in said, said
    assert "No NVIDIA GPU found" in said, said
    # NVIDIA's own library, asked as the gate asks it: 9 is «driver not loaded».
    assert '"nvml": 9' in guest.on("/opt/dsops/venv/bin/python -I -m dsops.node.driver.ask")


def test_a_second_run_changes_nothing(guest: DriverGuest) -> None:
    assert guest.deploy_first().changed == 0


def test_another_version_takes_its_place_and_the_old_one_stays_on_the_server(guest: DriverGuest) -> None:
    guest.want(NEW)
    with timed(f"change from {OLD} to {NEW}"):
        guest.deploy_first()
    check_whole(guest, NEW_VERSION)
    assert guest.on(f"ls {SETS}").split() == [OLD, NEW]
    with timed("reboot into the other set"):
        guest.reboot()
    said = guest.wait_judged(lambda said: said["set"] == NEW, what="judged")
    assert (said["outcome"], said["faults"]) == ("no-gpu", [])


def test_a_mismatch_on_purpose_fails_two_boots_and_the_node_goes_back_by_itself(guest: DriverGuest) -> None:
    """The older module under the newer libraries: what an unattended upgrade leaves behind."""
    guest.on(f"cp {SETS}/{OLD}/modules/nvidia-current.ko {MODULE} && depmod -a && sync")
    boot = guest.ask_boot()
    with timed("two failed boots, back to the set before, and up"):
        guest.reboot_freely()
        said = guest.wait_judged(
            lambda said: said["set"] == OLD and said["outcome"] == "no-gpu", what="up with the set before"
        )
    assert f"{NEW} failed at boot 2 of 2: the module's file is {OLD_VERSION}, the set has {NEW_VERSION}" in said["left"]
    state = guest.state
    assert (state["current"], state["stage"], state["bad"]) == (OLD, "trial", [NEW])
    assert guest.ask_boot() != boot
    check_whole(guest, OLD_VERSION)


def test_a_set_that_this_node_left_is_refused_until_somebody_cleared_it(guest: DriverGuest) -> None:
    done = subprocess.run(guest.first_roles(), capture_output=True, text=True, timeout=1800, check=False, cwd=ROOT)
    assert done.returncode, done.stdout
    assert f"{NEW} failed on this node before" in done.stdout + done.stderr
    guest.on(f"{PROGRAM} forget")


def test_a_held_package_that_somebody_changed_by_hand_is_drift_and_is_mended(guest: DriverGuest) -> None:
    guest.want(OLD)
    guest.on(f"dpkg -i --force-depends {SETS}/{NEW}/repo/libnvidia-nvvm4_*.deb")
    guest.on("apt-mark unhold libcuda1")
    (said,) = guest.drift()
    assert f"libnvidia-nvvm4 is {NEW_VERSION}-0+deb12u1, the set has {OLD_VERSION}-1" in said
    assert "libcuda1 is not held" in said
    guest.deploy_first()
    check_whole(guest, OLD_VERSION)
    assert guest.on("dpkg-query -W -f='${Version}' libnvidia-nvvm4") == f"{OLD_VERSION}-1"


@pytest.mark.parametrize("after", [10.0, 25.0, 45.0])
def test_a_power_cut_in_the_middle_of_a_change_is_done_to_its_end_by_the_node(guest: DriverGuest, after: float) -> None:
    wanted = NEW if guest.state["current"] == OLD else OLD
    guest.want(wanted)
    deploy_until(guest, "driver: set", guest.cut_power, after=after, patience=180)
    with timed(f"made good by itself after a power cut +{after:g} s into a change"):
        guest.switch_on()
        guest.wait_judged(lambda said: said["set"] == wanted and said["outcome"] == "no-gpu", what="whole")
    state = guest.state
    assert (state["current"], state["stage"], state["failures"], state["bad"]) == (wanted, "trial", 0, [])
    check_whole(guest, NEW_VERSION if wanted == NEW else OLD_VERSION)
    assert guest.deploy_first().changed == 0


def test_a_bundle_without_the_set_is_refused_before_any_change(guest: DriverGuest, tmp_path: Path) -> None:
    before = guest.state
    guest.want("debian12-470.1")
    done = subprocess.run(guest.first_roles(), capture_output=True, text=True, timeout=600, check=False, cwd=ROOT)
    assert done.returncode, done.stdout
    assert "carries no driver set" in done.stdout + done.stderr
    assert guest.state == before


def test_a_power_cut_in_the_middle_of_the_first_set_on_a_fresh_os_is_done_to_its_end(guest: DriverGuest) -> None:
    """There is nothing to go back to, and half of what the set wants besides is not there yet."""
    guest.renew()
    guest.want(NEW)
    deploy_until(guest, "driver: set", guest.cut_power, after=20, patience=180)
    guest.switch_on()
    guest.wait_judged(lambda said: said["set"] == NEW and said["outcome"] == "no-gpu", what="whole")
    check_whole(guest, NEW_VERSION)
    assert guest.deploy_first().changed == 0
