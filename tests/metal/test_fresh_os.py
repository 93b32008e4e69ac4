"""A fresh OS on a machine with a kernel of its own: made fit to serve, rebooted, and found as it was promised."""

import re

import pytest

from tests.metal.machine import INVENTORY, Machine, dsops, timed

pytestmark = [pytest.mark.metal, pytest.mark.timeout(1500)]
NO_CHANGE = re.compile(r"operations on 1 servers: nothing changed \(")


def test_the_site_comes_up_on_a_fresh_machine(metal1: Machine) -> None:
    with timed("deploy on a fresh OS"):
        said = metal1.deploy()
    assert "metal1" in said


def test_a_second_run_changes_nothing(metal1: Machine) -> None:
    with timed("second run"):
        said = metal1.deploy()
    assert NO_CHANGE.search(said), said


def test_it_holds_after_a_reboot(metal1: Machine) -> None:
    with timed("reboot"):
        metal1.reboot()
    with timed("verify"):
        done = dsops("verify", "-i", INVENTORY, "--limit", "metal1", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_after_the_reboot_changes_nothing(metal1: Machine) -> None:
    said = metal1.deploy()
    assert NO_CHANGE.search(said), said


@pytest.mark.thorough
def test_the_second_machine_comes_up_with_a_service_of_its_own_and_holds_too() -> None:
    """metal2 is in `mon`: Prometheus, Alertmanager and the agent behind the firewall."""
    machine = Machine("metal2")
    machine.renew()
    try:
        with timed("metal2: deploy on a fresh OS"):
            machine.deploy()
        assert NO_CHANGE.search(said := machine.deploy()), said
        with timed("metal2: reboot"):
            machine.reboot()
        with timed("metal2: verify"):
            done = dsops("verify", "-i", INVENTORY, "--limit", "metal2", timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        dsops("lab", "fault", "metal2", "poweroff")
