"""Network cards and RDMA ports."""

from dataclasses import replace
from pathlib import Path

import pytest
from dsops.control.doctor.answer import read_answer
from dsops.control.doctor.finding import Status
from dsops.control.doctor.network import Nic, RdmaPort, judge_nics, judge_rdma, read_nics, read_rdma, render_speed

HGX = read_answer((Path(__file__).with_name("answers") / "hgx-h100.txt").read_text())
NIC = Nic("eno1", "up", True, 10_000, "full", 1500, "ixgbe", ("192.0.2.11/24",))
PORT = RdmaPort("mlx5_0/1", "4: ACTIVE", "400 Gb/sec (4X NDR)", "InfiniBand")


def test_cards_and_ports_of_a_big_server_are_read() -> None:
    nics = {nic.name: nic for nic in read_nics(HGX)}
    assert nics["eno1"] == NIC
    assert (nics["eno2"].has_carrier, nics["eno2"].speed, nics["ibs0"].driver) == (False, 0, "mlx5_core")
    assert read_rdma(HGX)[0] == PORT
    assert len(read_rdma(HGX)) == 8


@pytest.mark.parametrize(
    ("nic", "what"),
    [
        (replace(NIC, state="down", has_carrier=False), "eno1 has an address (192.0.2.11/24) and no link"),
        (replace(NIC, duplex="half"), "eno1 runs at half duplex"),
        (replace(NIC, speed=100), "eno1, by which we reach it, has 100 Mb/s: bundles will take hours"),
    ],
)
def test_a_link_that_is_down_or_slow_is_a_warning(nic: Nic, what: str) -> None:
    (found,) = judge_nics("gpu1", [nic], address="192.0.2.11")
    assert (found.status, found.what) == (Status.WARNING, what)
    assert found.mend


def test_a_slow_card_that_nothing_comes_by_and_one_without_a_cable_are_well() -> None:
    bmc, spare = replace(NIC, name="usb0", speed=100, addresses=("198.51.100.2/24",)), Nic("eno2", "down")
    (found,) = judge_nics("gpu1", [NIC, bmc, spare], address="192.0.2.11")
    assert found.status is Status.OK
    assert found.what == "eno1 10 Gb/s ixgbe MTU 1500; usb0 100 Mb/s ixgbe MTU 1500"
    assert judge_nics("gpu1", [], address="192.0.2.11") == []


def test_ports_that_differ_from_their_neighbours_are_a_warning() -> None:
    down = replace(PORT, name="mlx5_1/1", state="1: DOWN")
    (found,) = judge_rdma("gpu1", [PORT, down], is_wanted=True)
    assert (found.status, found.what) == (Status.WARNING, "1 of 2 RDMA ports are not active: mlx5_1/1 (DOWN)")
    slow = replace(PORT, rate="200 Gb/sec (4X HDR)")
    assert judge_rdma("gpu1", [PORT, slow], is_wanted=True)[0].status is Status.WARNING
    assert judge_rdma("gpu1", [PORT], is_wanted=True)[0].status is Status.OK
    assert judge_rdma("gpu1", [down], is_wanted=True)[0].status is Status.SKIPPED


def test_no_rdma_is_said_only_where_there_are_several_gpus() -> None:
    assert judge_rdma("gpu1", [], is_wanted=True)[0].status is Status.SKIPPED
    assert judge_rdma("lb1", [], is_wanted=False) == []


def test_speeds_are_short() -> None:
    assert [render_speed(speed) for speed in (0, 100, 2500, 400_000)] == ["", "100 Mb/s", "2.5 Gb/s", "400 Gb/s"]
