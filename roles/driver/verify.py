"""Does every server have its driver set: installed, held, judged at this boot, and the GPUs answering?"""

import json
from typing import Any

import pytest
from dsops.control.fleet.inventory import Server
from dsops.core.drivers.boots import Outcome, Stage
from dsops.core.drivers.lockset import TURNED, VERDICT, Carried, parse_carried

from roles.driver.defaults import DriverSet
from roles.driver.state import DriverFact, Found, find_differences
from roles.ops.proofs import Host, get_settings, get_unit, is_container

GROUPS = ("all",)


def get_wanted(host: Host, server: Server) -> Carried:
    """The set that lies on the server. Skips where the inventory names none."""
    name = get_settings(DriverSet, server).driver_lockset
    if not name:
        pytest.skip("the inventory names no driver_lockset")
    if is_container(host):
        pytest.skip("a container has its host's kernel, and its driver")
    path = f"/var/lib/dsops/driver/sets/{name}/set.json"
    return parse_carried(host.check_output(f"cat {path}"), where=path)


def get_found(host: Host, wanted: Carried) -> Found:
    """What the role itself looks at."""
    command = DriverFact().command(list(wanted.pins), wanted.lockset.kernel.release)
    return DriverFact().process(host.check_output(command).splitlines())


def get_verdict(host: Host) -> dict[str, Any]:
    """What the gate said of the boot that runs. Fails the test when it has not looked at it."""
    said: dict[str, Any] = json.loads(host.check_output(f"cat {VERDICT}"))
    assert said["boot"] == host.check_output("cat /proc/sys/kernel/random/boot_id"), "the gate has not seen this boot"
    return said


def test_the_set_is_installed_pinned_and_held(host: Host, server: Server) -> None:
    wanted = get_wanted(host, server)
    assert not find_differences(wanted, get_found(host, wanted))


def test_the_gate_looks_at_every_boot(host: Host, server: Server) -> None:
    get_wanted(host, server)
    assert get_unit(host, "dsops-driver-gate.service")["UnitFileState"] == "enabled"


def test_this_boot_passed_the_gate(host: Host, server: Server) -> None:
    wanted = get_wanted(host, server)
    assert host.run(f"test -e {TURNED}").rc, "the set waits for a reboot"
    said = get_verdict(host)
    assert said["set"] == wanted.lockset.name, said["says"]
    if said["outcome"] == Outcome.NO_GPU:
        pytest.skip("no GPU on PCI: what lies on the disk is one set, nobody can say more")
    assert (said["outcome"], said["stage"]) == (Outcome.PASSED, Stage.SETTLED), said["says"]


def test_nouveau_is_not_loaded(host: Host, server: Server) -> None:
    get_wanted(host, server)
    assert host.run("test -e /sys/module/nouveau").rc, "nouveau is loaded: reboot"
