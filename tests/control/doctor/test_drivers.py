"""Who else drives the GPUs: nouveau, several sources, other agents."""

import pytest
from dsops.control.doctor.answer import read_answer
from dsops.control.doctor.drivers import Drivers, find_versions, judge_agents, judge_drivers, read_drivers
from dsops.control.doctor.finding import Status
from dsops.control.doctor.ports import Listener

PACKAGES = (
    ("nvidia-driver-535-server", "535.183.06-0ubuntu0.22.04.1"),
    ("libnvidia-compute-535-server", "535.183.06-0ubuntu0.22.04.1"),
    ("nvidia-container-toolkit", "1.16.2-1"),
)
OTHER = ("libcuda1", "550.54.15-1")
SAID = """nouveau=yes
runfile=yes
package=nvidia-fabricmanager-535 535.183.06-1
package=nvidia-settings
unit=nvidia-fabricmanager active
unit=nvidia-dcgm
sys=/sys/module/nvidia/version\t535.183.06
"""


def test_what_a_server_says_is_read() -> None:
    seen = read_drivers(read_answer(SAID))
    assert (seen.module, seen.has_nouveau, seen.is_runfile, seen.manager) == ("535.183.06", True, True, "active")
    assert (seen.packages, seen.units) == (
        (("nvidia-fabricmanager-535", "535.183.06-1"),),
        (("nvidia-fabricmanager", "active"),),
    )
    assert Drivers(units=(("nvidia-fabricmanager", "inactive"),)).manager == ""


def test_only_packages_of_the_driver_count() -> None:
    assert find_versions(PACKAGES) == {"535.183": ["nvidia-driver-535-server", "libnvidia-compute-535-server"]}


@pytest.mark.parametrize(
    ("drivers", "what"),
    [
        (Drivers(has_nouveau=True), "nouveau holds the GPUs: NVIDIA's driver cannot be loaded beside it"),
        (Drivers(packages=(*PACKAGES, OTHER)), "535.183: nvidia-driver-535-server, libnvidia-compute-535-server; 550"),
        (Drivers(packages=PACKAGES, is_runfile=True), "a driver by NVIDIA's installer lies over one by packages"),
        (Drivers("535.104.05", packages=PACKAGES), "the loaded module is 535.104.05, and the packages are 535.183"),
    ],
)
def test_what_gets_in_each_others_way_is_a_warning(drivers: Drivers, what: str) -> None:
    (found,) = judge_drivers("gpu1", drivers)
    assert (found.status, what in found.what) == (Status.WARNING, True)
    assert found.mend


def test_one_driver_or_none_is_well() -> None:
    assert judge_drivers("gpu1", Drivers("535.183.06", packages=PACKAGES))[0].what == "NVIDIA 535.183.06"
    assert judge_drivers("gpu1", Drivers())[0].what == "none yet"


def test_another_agent_is_told_by_its_unit_or_by_its_port() -> None:
    port = Listener("0.0.0.0", 9400, "dcgm-exporter", "7", "")
    (found,) = judge_agents("gpu1", Drivers(units=(("nvidia-dcgm", "active"), ("gpud", "inactive"))), [port])
    assert found.what == "another GPU agent runs: DCGM's exporter, DCGM's host engine"
    docker = Drivers(packages=(("nvidia-docker2", "2.13.0-1"),))
    assert "Docker has its own way" in judge_agents("gpu1", docker, [])[0].what
    assert judge_agents("gpu1", Drivers(), [Listener("::", 22, "sshd", "1", "")]) == []
