"""Sound servers get their map, and every line its reason."""

import xml.etree.ElementTree as ET

import pytest
from dsops.core.topology.asked import Asked
from dsops.core.topology.lines import TOPOLOGY_FILE, render_env

from tests.core.topology.recordings import IB, SOUND, build, cards, drop, put, read_parts, values

# NVIDIA DGX H100 user guide, table of network modules: GPU -> RDMA device.
DGX_H100 = {
    0: "mlx5_0",
    1: "mlx5_3",
    2: "mlx5_4",
    3: "mlx5_5",
    4: "mlx5_6",
    5: "mlx5_9",
    6: "mlx5_10",
    7: "mlx5_11",
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_server_is_compiled_and_every_line_has_a_reason(name: str) -> None:
    made = build(name)
    assert made.problems == ()
    assert made.lines
    assert all(line.why and "\n" not in line.why for line in made.lines)
    assert len({line.key for line in made.lines}) == len(made.lines)


def test_the_map_of_a_dgx_h100_is_the_one_that_its_maker_publishes() -> None:
    made = build("dgx-h100")
    assert cards(made) == DGX_H100
    assert values(made)["NCCL_IB_HCA"] == "=" + ",".join(f"{name}:1" for name in DGX_H100.values())
    assert values(made)["NCCL_SOCKET_IFNAME"] == "=eno3"
    assert "NCCL_IB_GID_INDEX" not in values(made)


def test_storage_cards_are_left_aside_with_the_reason() -> None:
    asides = {one.port.hca: one.why for one in build("dgx-h100").asides}
    assert set(asides) == {"mlx5_1", "mlx5_2", "mlx5_7", "mlx5_8"}
    assert "no GPU is below its PCIe switch" in asides["mlx5_1"]
    assert "down" in asides["mlx5_2"]


def test_four_gpus_below_one_switch_share_its_card_and_that_is_told() -> None:
    made = build("a100-pcie-2nic")
    assert cards(made) == dict.fromkeys(range(4), "mlx5_0") | dict.fromkeys(range(4, 8), "mlx5_1")
    assert {pair.rate for pair in made.pairs} == {50.0}
    assert "shared by 4 GPUs" in made.pairs[0].why


def test_roce_takes_the_index_of_version_2_with_an_ipv4_address() -> None:
    said = values(build("roce-bond"))
    assert (said["NCCL_IB_GID_INDEX"], said["UCX_IB_GID_INDEX"]) == ("3", "3")


def test_cards_whose_indexes_differ_get_no_index_but_the_version() -> None:
    parts = put(read_parts("roce-bond"), f"{IB}/mlx5_bond_2/ports/1/gid_attrs/types/2", "RoCE v2")
    parts = put(parts, f"{IB}/mlx5_bond_2/ports/1/gid_attrs/types/3", "IB/RoCE v1")
    said = values(build(parts))
    assert "NCCL_IB_GID_INDEX" not in said
    assert "UCX_IB_GID_INDEX" not in said
    assert said["NCCL_IB_ROCE_VERSION_NUM"] == "2"


def test_without_rdma_everything_goes_by_tcp_and_says_so() -> None:
    made = build("two-gpus-no-rdma")
    assert values(made)["NCCL_IB_DISABLE"] == "1"
    assert values(made)["NCCL_SOCKET_IFNAME"] == "=enp193s0f0"
    assert "tcp" in values(made)["UCX_TLS"]
    assert "tcp" not in values(build("dgx-h100"))["UCX_TLS"]


def test_a_second_gpu_below_the_same_switch_gets_its_own_card() -> None:
    """Two GPUs and two cards below one switch: neither is nearer, and neither is used twice."""
    parts = read_parts("dgx-h100")
    parts |= {"gpus": "", "topo": ""}
    moved = parts["sys"].replace("pci0000:3d/0000:3d:01.0/0000:3e:00.0", "pci0000:15/0000:15:01.0/0000:16:00.0")
    made = build(parts | {"sys": moved})
    assert made.problems == ()
    assert {cards(made)[0], cards(made)[1]} == {"mlx5_0", "mlx5_3"}


def test_two_cards_for_one_gpu_are_both_its() -> None:
    parts = read_parts("dgx-h100") | {"gpus": "", "topo": ""}
    parts = drop(parts, "/sys/bus/pci/devices/0000:43:00.0")
    moved = parts["sys"].replace("pci0000:3d/0000:3d:01.0/0000:3e:00.0", "pci0000:15/0000:15:01.0/0000:16:00.0")
    made = build(parts | {"sys": moved})
    assert cards(made)[0] == "mlx5_0,mlx5_3"
    assert made.pairs[0].rate == 800.0


def test_cards_that_nobody_is_near_to_are_taken_but_for_the_default_routes() -> None:
    parts = read_parts("two-gpus-no-rdma")
    for number, (bus, interface) in enumerate((("81", "ens1"), ("82", "enp193s0f0"))):
        at = f"/sys/devices/pci0000:80/0000:80:0{number + 1}.1/0000:{bus}:00.0"
        lines = [
            f"/sys/bus/pci/devices/0000:{bus}:00.0\t{at}",
            f"/sys/bus/pci/devices/0000:{bus}:00.0/class\t0x020000",
            f"/sys/bus/pci/devices/0000:{bus}:00.0/numa_node\t-1",
            f"{IB}/mlx5_{number}/device\t{at}",
            f"{IB}/mlx5_{number}/node_guid\t0000:0000:0000:000{number + 1}",
            f"{IB}/mlx5_{number}/ports/1/state\t4: ACTIVE",
            f"{IB}/mlx5_{number}/ports/1/rate\t100 Gb/sec (4X EDR)",
            f"{IB}/mlx5_{number}/ports/1/link_layer\tEthernet",
            f"{IB}/mlx5_{number}/ports/1/gids/0\t0000:0000:0000:0000:0000:ffff:0a01:000{number + 1}",
            f"{IB}/mlx5_{number}/ports/1/gid_attrs/types/0\tRoCE v2",
            f"{IB}/mlx5_{number}/ports/1/gid_attrs/ndevs/0\t{interface}",
        ]
        parts["sys"] += "\n".join(lines) + "\n"
    made = build(parts)
    assert made.problems == ()
    assert cards(made) == {0: "mlx5_0", 1: "mlx5_0"}
    assert [one.why for one in made.asides] == ["the default route goes through it (enp193s0f0)"]


def test_a_card_below_a_gpus_switch_that_the_default_route_uses_is_the_front() -> None:
    parts = read_parts("roce-bond") | {"route": "bond0\n"}
    made = build(parts, Asked(far=True))
    assert [one.why for one in made.asides] == ["the default route goes through it (bond0)"]
    assert cards(made)[0] == "mlx5_bond_1"


def test_a_slice_of_a_card_is_left_aside_as_what_it_is() -> None:
    parts = read_parts("a100-pcie-2nic")
    parts["sys"] += f"{IB}/mlx5_9/device\t/sys/devices/pci0000:20/0000:20:01.1/0000:27:00.2\n"
    parts["sys"] += f"{IB}/mlx5_9/ports/1/state\t4: ACTIVE\n{IB}/mlx5_9/ports/1/link_layer\tInfiniBand\n"
    made = build(parts)
    assert made.problems == ()
    assert [(one.port.hca, "SR-IOV" in one.why) for one in made.asides] == [("mlx5_9", True)]


def test_what_the_inventory_names_wins_over_what_is_near() -> None:
    four = ("mlx5_0", "mlx5_3", "mlx5_4", "mlx5_5")
    made = build("dgx-h100", Asked(compute=(*four, "mlx5_6", "mlx5_9", "mlx5_10", "mlx5_11")))
    assert cards(made) == DGX_H100
    assert {one.why for one in made.asides} == {"the inventory names others"}


def test_an_address_of_the_inventory_decides_by_which_interface_servers_meet() -> None:
    made = build("dgx-h100", Asked(address="10.50.0.11"))
    assert values(made)["NCCL_SOCKET_IFNAME"] == "=enp41s0f0np0"
    behind = build("dgx-h100", Asked(reached="203.0.113.9"))
    assert values(behind)["NCCL_SOCKET_IFNAME"] == "=eno3"


def test_rails_and_a_topology_file_are_said_only_when_asked_for() -> None:
    assert "NCCL_CROSS_NIC" not in values(build("dgx-h100"))
    assert "NCCL_TOPO_FILE" not in values(build("dgx-h100"))
    parts = read_parts("a100-pcie-2nic")
    parts = put(parts, f"{IB}/mlx5_1/ports/1/gids/0", "fec0:0000:0000:0001:b8ce:f603:0001:1a2c")
    said = values(build(parts, Asked(rails=True, topology_file=True)))
    assert (said["NCCL_CROSS_NIC"], said["NCCL_TOPO_FILE"]) == ("0", TOPOLOGY_FILE)


def test_soft_roce_counts_only_when_it_is_asked_for() -> None:
    parts = read_parts("two-gpus-no-rdma")
    lines = [
        f"{IB}/rxe0/node_guid\t0250:00ff:fe00:0001",
        f"{IB}/rxe0/parent\tenp193s0f0",
        f"{IB}/rxe0/ports/1/state\t4: ACTIVE",
        f"{IB}/rxe0/ports/1/rate\t2.5 Gb/sec (1X SDR)",
        f"{IB}/rxe0/ports/1/link_layer\tEthernet",
        f"{IB}/rxe0/ports/1/gids/1\t0000:0000:0000:0000:0000:ffff:c000:0233",
        f"{IB}/rxe0/ports/1/gid_attrs/types/1\tRoCE v2",
        f"{IB}/rxe0/ports/1/gid_attrs/ndevs/1\tenp193s0f0",
    ]
    parts["sys"] += "\n".join(lines) + "\n"
    assert values(build(parts))["NCCL_IB_DISABLE"] == "1"
    made = build(parts, Asked(transport="soft", far=True))
    assert made.problems == ()
    assert values(made)["NCCL_IB_HCA"] == "=rxe0:1"
    assert values(made)["NCCL_NET_GDR_LEVEL"] == "LOC"
    assert values(made)["NCCL_IB_GID_INDEX"] == "1"


def test_the_file_for_services_has_every_line_below_its_reason() -> None:
    made = build("roce-bond")
    lines = render_env(made.lines, head="# head\n").splitlines()
    assert lines[0] == "# head"
    assert [line.partition("=")[0] for line in lines[2::2]] == [line.key for line in made.lines]
    assert all(line.startswith("# ") for line in lines[1::2])


# NCCL's own file.

ALLOWED = {"system": {"cpu"}, "cpu": {"pci"}, "pci": {"pci"}}


@pytest.mark.parametrize("name", SOUND)
def test_the_topology_file_is_in_nccls_grammar(name: str) -> None:
    made = build(name)
    system = ET.fromstring(made.xml)
    assert (system.tag, system.get("version")) == ("system", "1")
    for element in system.iter():
        assert {child.tag for child in element} <= ALLOWED[element.tag]
    pcis = list(system.iter("pci"))
    assert len({one.get("busid") for one in pcis}) == len(pcis)
    assert all({"busid", "class", "link_speed", "link_width"} <= set(one.keys()) for one in pcis)
    wanted = {gpu.device.address for gpu in made.seen.gpus}
    wanted |= {port.device.address for pair in made.pairs for port in pair.ports if port.device}
    assert {one.get("busid") for one in pcis if not len(one)} == wanted
    assert all(cpu.get("arch") == "x86_64" for cpu in system)


def test_of_a_switch_only_the_bridge_above_counts_as_nccl_does_it() -> None:
    """As NCCL dumps a DGX A100 (NVIDIA/nccl#1505): neither the processor's port nor the ports below a switch."""
    system = ET.fromstring(build("dgx-h100").xml)
    cpu = system.find("cpu")
    assert cpu is not None
    (switch,) = [one for one in cpu if one.get("busid") == "0000:16:00.0"]
    assert [one.get("busid") for one in switch] == ["0000:18:00.0", "0000:19:00.0"]
    assert [one.get("busid") for one in switch[1]] == ["0000:1b:00.0"]


def test_the_file_that_nccl_took_on_two_real_gpus_is_the_one_that_is_written() -> None:
    """NCCL 2.28.9 loaded exactly this (docs/network.md)."""
    system = ET.fromstring(build("h100-x2-guest").xml)
    assert [one.get("busid") for one in system.iter("pci")] == ["0000:00:06.0", "0000:00:07.0"]
    assert [one.get("numaid") for one in system] == ["-1"]
    assert {one.get("link_speed") for one in system.iter("pci")} == {"32.0 GT/s PCIe"}
