"""Servers beside each other, and GPUDirect's way."""

import pytest
from dsops.core.topology.fleet import check_fleet, render_hostfile
from dsops.core.topology.gpudirect import choose_way
from dsops.core.topology.model import Software

from tests.core.topology.recordings import build, drop, read_parts

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build"
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01"


def other(parts: dict[str, str]) -> dict[str, str]:
    """The same kind of server, with GUIDs of its own."""
    return parts | {"sys": parts["sys"].replace("a088:c203:0012", "a088:c203:0099")}


def test_two_servers_of_a_kind_fit_together_and_are_in_one_hostfile() -> None:
    one, two = build("dgx-h100", node="gpu1"), build(other(read_parts("dgx-h100")), node="gpu2")
    assert check_fleet([one, two]) == []
    assert render_hostfile([one, two], {"gpu2": "192.0.2.32"}) == "gpu1 slots=8\n192.0.2.32 slots=8\n"


def test_one_recording_under_two_names_shows_by_its_guids() -> None:
    found = check_fleet([build("dgx-h100", node="gpu1"), build("dgx-h100", node="gpu2")])
    assert len(found) == 8
    assert found[0].where == "gpu1 mlx5_0, gpu2 mlx5_0"


def test_servers_that_differ_are_named_with_what_differs() -> None:
    found = check_fleet([build("dgx-h100", node="gpu1"), build("two-gpus-no-rdma", node="gpu2")])
    assert [one.what.partition(":")[0] for one in found] == [
        "servers differ in GPUs",
        "servers differ in ports for GPUs",
        "servers differ in subnets",
    ]
    assert "gpu1: 8 x InfiniBand 400 Gb/s; gpu2: none" in found[1].what


def test_a_server_whose_own_map_is_refused_is_compared_with_nobody() -> None:
    assert check_fleet([build("dgx-h100", node="gpu1"), build("wrong-cabling", node="gpu2")]) == []


def test_a_server_without_gpus_has_no_slots() -> None:
    parts = drop(read_parts("two-gpus-no-rdma") | {"gpus": "", "topo": ""}, "/sys/bus/pci/devices/0000:01:00.0")
    parts = drop(parts, "/sys/bus/pci/devices/0000:41:00.0")
    assert render_hostfile([build(parts)], {}) == ""


@pytest.mark.parametrize(
    ("found", "asked", "name", "possible"),
    [
        (Software("6.1.0-40-amd64", OPEN), "auto", "dmabuf", True),
        (Software("6.1.0-40-amd64", OPEN, has_peer_memory=True), "auto", "dmabuf", True),
        (Software("5.10.134", OPEN, has_peer_memory=True), "auto", "peermem", True),
        (Software("6.1.0", PROPRIETARY, has_peer_memory=True), "auto", "peermem", True),
        (Software("6.1.0", PROPRIETARY), "auto", "none", True),
        (Software("6.1.0", PROPRIETARY), "dmabuf", "dmabuf", False),
        (Software("6.1.0", OPEN), "peermem", "peermem", False),
        (Software("6.1.0", OPEN, has_peer_memory=True), "peermem", "peermem", True),
        (Software("6.1.0", OPEN.replace("580.95.05", "510.47.03")), "auto", "none", True),
        (Software("6.1.0"), "auto", "none", True),
        (Software("6.1.0"), "peermem", "none", False),
        (Software("6.1.0", OPEN), "none", "none", True),
    ],
)
def test_the_way_to_a_gpus_memory_follows_from_what_is_installed(
    found: Software, asked: str, name: str, possible: bool
) -> None:
    way = choose_way(found, asked)
    assert (way.name, way.is_possible) == (name, possible)
    assert way.why
