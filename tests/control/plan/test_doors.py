"""The doors of an apply: the operators' own for traffic, pyinfra's login for reboots, and every failure a sentence."""

from pathlib import Path

import pytest
from dsops.control.plan.doors import RealDoors, serves
from dsops.control.plan.reboot import Pace
from dsops.core.status import Condition, Phase

from tests.control.fleet.sshd import Reply, Sshd, run_sshd
from tests.control.fleet.test_ssh import make_fleet
from tests.core.test_status import make_status

FINE = {"phase": Phase.SERVING, "condition": Condition.OK, "drained": None, "ejected": None}


def doors(tmp_path: Path, sshd: Sshd, *, limit: float = 60) -> RealDoors:
    fleet = make_fleet(tmp_path, sshd, ssh_user="root", ssh_key="key")
    return RealDoors(tmp_path, fleet, "dsops apply abc", Pace(limit, 0.05), wait=0.1)


def test_traffic_goes_by_the_door_of_dsops_drain(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        door = doors(tmp_path, sshd)
        assert (door.drain("gpu1"), door.undrain("gpu1")) == ("", "")
    (user, drain), (_, undrain) = sshd.asked
    assert user == "dsops"
    assert drain.startswith("dsops node drain --reason 'dsops apply abc' --who ")
    assert drain.endswith(" --wait 120")
    assert undrain.startswith("dsops node undrain --who ")


def test_a_node_that_refuses_is_told_in_its_own_words(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (3, "", "error: 2 requests are still in flight\n"))) as sshd:
        assert doors(tmp_path, sshd).drain("gpu1") == "gpu1: 2 requests are still in flight"


def test_reboots_go_by_pyinfras_login(tmp_path: Path) -> None:
    boots = iter(["first", "second\nrunning"])

    def answer(command: str) -> Reply:
        return 0, f"{next(boots)}\n" if "boot_id" in command else "", ""

    with run_sshd(Sshd(answer)) as sshd:
        assert doors(tmp_path, sshd).reboot("gpu1") == ""
    assert {user for user, _ in sshd.asked} == {"root"}
    assert any("systemctl reboot" in command for _, command in sshd.asked)


def test_a_reboot_that_never_comes_back_is_a_sentence(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (0, "same\n", ""))) as sshd:
        why = doors(tmp_path, sshd, limit=1.0).reboot("gpu1")
    assert why.startswith("gpu1: did not come back within 1 s after its reboot: it still runs as before; look at its")


def test_who_waits_for_a_reboot_is_asked_as_root(tmp_path: Path) -> None:
    with run_sshd(Sshd(lambda _: (0, "system\thugepages\n", ""))) as sshd:
        assert doors(tmp_path, sshd).find_reboots("gpu1") == {"system": "hugepages"}


def test_an_agent_that_does_not_answer_is_not_well(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        said = doors(tmp_path, sshd).wait_well(["gpu1"])
    assert said.startswith("after 0.1 s gpu1 is ")


def test_one_that_served_and_does_not_come_back_is_told(tmp_path: Path) -> None:
    with run_sshd(Sshd()) as sshd:
        said = doors(tmp_path, sshd).wait_serving(["gpu1"])
    assert said == "gpu1 served before, and does not after 0.1 s; see `dsops status`"


@pytest.mark.parametrize(
    ("role", "changes", "wanted"),
    [
        ("gpu", {}, True),
        ("gpu", {"drained": "by me"}, False),
        ("gpu", {"phase": Phase.LOADING}, False),
        ("lb", {"phase": Phase.STOPPED}, True),
        ("lb", {"condition": Condition.FAILED}, False),
        ("mon", {"condition": Condition.DEGRADED}, True),
    ],
)
def test_a_server_serves_when_it_does_what_it_is_for(role: str, changes: dict[str, object], wanted: bool) -> None:
    assert serves(make_status(**{**FINE, **changes}), role=role) is wanted
