"""A fresh OS on a machine with a kernel of its own: made fit to serve, rebooted, and found as it was promised."""

import re

import pytest

from tests.metal.machine import INVENTORY, Machine, dsops, timed

pytestmark = [pytest.mark.metal, pytest.mark.timeout(1500)]
NO_CHANGE = re.compile(r"operations on 1 servers: nothing changed \(")
BOTH_SAME = re.compile(r"operations on 2 servers: nothing changed \(")


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
@pytest.mark.timeout(3600)
def test_both_machines_come_up_together_the_second_with_a_service_and_hold_over_a_reboot() -> None:
    """metal2 is in `mon`: Prometheus, Alertmanager and the agent, behind the firewall, scraping metal1 too."""
    machines = [Machine("metal1"), Machine("metal2")]
    try:
        for machine in machines:
            machine.renew()
        with timed("both: deploy on a fresh OS"):
            deploy()
        with timed("both: second run"):
            assert BOTH_SAME.search(said := deploy()), said
        with timed("both: reboot"):
            for machine in machines:
                machine.reboot()
        with timed("both: verify"):
            done = dsops("verify", "-i", INVENTORY, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        for machine in machines:
            dsops("lab", "fault", machine.name, "poweroff")


def deploy() -> str:
    done = dsops("deploy", "-i", INVENTORY, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
