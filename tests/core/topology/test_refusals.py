"""Ambiguous and wrong maps are refused: what, where, how to mend it, and what it would cost."""

import pytest
from dsops.core.errors import DsopsError
from dsops.core.topology.asked import Asked, parse_map

from tests.core.topology.recordings import IB, PCI, build, cards, drop, find_problem, put, read_parts
from tests.core.topology.test_compile import DGX_H100


def test_three_faults_of_one_server_are_found_at_once() -> None:
    made = build("wrong-cabling")
    assert len(made.problems) == 3
    assert find_problem(made, "is DOWN, not ACTIVE").where == "mlx5_6:1"
    assert "fec0:0000:0000:0007: mlx5_5" in find_problem(made, "subnets are mixed").what
    moved = find_problem(made, "no card below its own switch")
    assert moved.where == "GPU3"
    assert "mlx5_3 below pci0000:e7" in moved.mend
    assert "GPUDirect is off" in moved.what


def test_a_gpu_without_a_card_of_its_own_takes_one_of_the_others_and_no_more() -> None:
    given = cards(build("wrong-cabling"))
    assert given == {index: f"mlx5_{index}" for index in range(8)} | {3: "mlx5_0"}


def test_a_port_that_is_down_is_named_with_its_cable() -> None:
    made = build(put(read_parts("dgx-h100"), f"{IB}/mlx5_9/ports/1/state", "2: INIT"))
    found = find_problem(made, "is INIT, not ACTIVE")
    assert found.where == "mlx5_9:1"
    assert "subnet manager" in found.mend
    assert len(made.problems) == 1


def test_two_subnets_are_mixed_on_roce_too() -> None:
    parts = read_parts("roce-bond")
    parts["addresses"] = parts["addresses"].replace("10.20.0.13/24", "10.30.0.13/24")
    moved = "0000:0000:0000:0000:0000:ffff:0a1e:000d"
    for index in (2, 3):
        parts = put(parts, f"{IB}/mlx5_bond_2/ports/1/gids/{index}", moved)
    found = find_problem(build(parts), "subnets are mixed")
    assert "10.30.0.0/24: mlx5_bond_2" in found.what
    assert "rdma_rails" in found.mend


def test_rails_that_share_a_subnet_are_none() -> None:
    found = find_problem(build("a100-pcie-2nic", Asked(rails=True)), "several cards are in one subnet")
    assert "rdma_rails" in found.mend


def test_a_card_on_another_numa_node_than_its_gpus_is_refused_until_it_is_accepted() -> None:
    parts = drop(read_parts("a100-pcie-2nic") | {"topo": ""}, f"{IB}/mlx5_1/")
    made = build(parts)
    assert {one.where for one in made.problems} == {"GPU4", "GPU5", "GPU6", "GPU7"}
    assert "rdma_far" in made.problems[0].mend
    assert "mlx5_0" in made.problems[0].what
    assert build(parts, Asked(far=True)).problems == ()


def test_far_on_both_sides_says_the_numa_nodes() -> None:
    parts = drop(read_parts("two-gpus-no-rdma"), f"{PCI}/0000:41:00.0")
    parts |= {"gpus": "", "topo": ""}
    parts = put(parts, f"{PCI}/0000:01:00.0/numa_node", "0")
    at = "/sys/devices/pci0000:80/0000:80:01.1/0000:81:00.0"
    parts["sys"] += (
        f"{PCI}/0000:81:00.0\t{at}\n{PCI}/0000:81:00.0/numa_node\t1\n{IB}/mlx5_0/device\t{at}\n"
        f"{IB}/mlx5_0/ports/1/state\t4: ACTIVE\n{IB}/mlx5_0/ports/1/rate\t200 Gb/sec\n"
        f"{IB}/mlx5_0/ports/1/link_layer\tInfiniBand\n"
    )
    found = find_problem(build(parts), "is on NUMA node 0, its nearest card mlx5_0 on node 1")
    assert "crosses the link between processors" in found.what


def test_a_storage_card_named_for_gpus_is_recognised() -> None:
    named = ("mlx5_1", *(name for name in DGX_H100.values() if name != "mlx5_0"))
    found = find_problem(build("dgx-h100", Asked(compute=named)), "below no GPU's switch")
    assert found.where == "mlx5_1:1"
    assert "mlx5_0 is below one, and would idle" in found.what


def test_two_cards_with_one_guid_are_refused() -> None:
    parts = read_parts("dgx-h100")
    parts = put(parts, f"{IB}/mlx5_4/node_guid", "a088:c203:0012:3400")
    assert find_problem(build(parts), "have one GUID (a088:c203:0012:3400)").where == "mlx5_0, mlx5_4"


def test_two_kinds_of_network_are_one_too_many() -> None:
    parts = put(read_parts("dgx-h100"), f"{IB}/mlx5_4/ports/1/link_layer", "Ethernet")
    parts["sys"] += (
        f"{IB}/mlx5_4/ports/1/gids/1\t0000:0000:0000:0000:0000:ffff:0a01:0001\n"
        f"{IB}/mlx5_4/ports/1/gid_attrs/types/1\tRoCE v2\n"
    )
    assert "Ethernet: mlx5_4" in find_problem(build(parts), "two kinds of network").what


def test_a_slower_port_sets_the_pace_and_is_refused() -> None:
    made = build(put(read_parts("dgx-h100"), f"{IB}/mlx5_4/ports/1/rate", "200 Gb/sec (2X NDR)"))
    assert "200 Gb/s: mlx5_4" in find_problem(made, "differ in rate").what


def test_a_roce_port_without_an_address_of_version_2_is_refused() -> None:
    without = drop(read_parts("roce-bond"), f"{IB}/mlx5_bond_1/ports/1/gids/3")
    assert find_problem(build(without), "has only RoCE v1").where == "mlx5_bond_1:1"
    silent = drop(without, f"{IB}/mlx5_bond_1/ports/1/gids/2")
    assert "bond1" in find_problem(build(silent), "has no IPv4 address").mend


def test_several_addresses_of_one_port_are_ambiguous() -> None:
    parts = read_parts("roce-bond")
    parts["sys"] += (
        f"{IB}/mlx5_bond_0/ports/1/gids/5\t0000:0000:0000:0000:0000:ffff:0a63:0001\n"
        f"{IB}/mlx5_bond_0/ports/1/gid_attrs/types/5\tRoCE v2\n{IB}/mlx5_bond_0/ports/1/gid_attrs/ndevs/5\tbond0.7\n"
    )
    assert "10.99.0.1 (bond0.7, index 5)" in find_problem(build(parts), "several RoCE v2 addresses").what


def test_a_bond_on_one_cable_and_a_bond_over_two_cards_are_refused() -> None:
    half = put(read_parts("roce-bond"), "/sys/class/net/ens2f1np1/operstate", "down")
    assert find_problem(build(half), "runs on 1 of 2 cables (ens2f1np1 is down)").where == "mlx5_bond_1:1"
    wide = put(read_parts("roce-bond"), "/sys/class/net/bond0/bonding/slaves", "ens1f0np0 ens2f1np1")
    assert find_problem(build(wide), "is a bond over 2 cards").where == "mlx5_bond_0:1"


def test_a_bios_that_hides_the_numa_nodes_is_refused_where_there_are_several() -> None:
    parts = put(read_parts("dgx-h100"), f"{PCI}/0000:18:00.0/numa_node", "-1")
    assert find_problem(build(parts), "the BIOS does not say").where == "mlx5_0:1"


def test_a_matrix_of_another_server_is_noticed() -> None:
    parts = read_parts("dgx-h100")
    parts["topo"] = parts["topo"].replace("NIC3: mlx5_3", "NIC3: mlx5_4").replace("NIC4: mlx5_4", "NIC4: mlx5_3")
    said = [one for one in build(parts).problems if "the driver says" in one.what]
    assert {one.where for one in said} == {"GPU1", "GPU2"}


def test_names_that_the_server_does_not_have_are_refused_with_those_it_has() -> None:
    found = find_problem(build("a100-pcie-2nic", Asked(aside=("mlx5_7",))), "has no RDMA device mlx5_7")
    assert "mlx5_0, mlx5_1" in found.mend
    both = build("a100-pcie-2nic", Asked(compute=("mlx5_0",), aside=("mlx5_0",)))
    assert find_problem(both, "is in rdma_compute and in rdma_aside")


def test_rdma_that_is_asked_for_and_not_there_is_no_silent_tcp() -> None:
    found = find_problem(build("two-gpus-no-rdma", Asked(transport="infiniband")), "all would go by TCP")
    assert 'rdma = "none"' in found.mend
    assert "RoCE" not in found.what
    assert find_problem(build("dgx-h100", Asked(transport="soft")), "soft-RoCE was asked for")
    assert find_problem(build("two-gpus-no-rdma", Asked(transport="auto")), "there is no RDMA device")


def test_nobody_guesses_by_which_interface_servers_meet() -> None:
    parts = read_parts("dgx-h100") | {"route": "\n"}
    assert "dsops_address" in find_problem(build(parts), "nothing says by which interface").mend
    assert find_problem(build("dgx-h100", Asked(address="192.0.2.99")), "no interface has 192.0.2.99")
    assert find_problem(build(parts | {"addresses": "\n"}), "has no interface with an IPv4 address")


# A map made by hand.


def by_hand(**changed: str) -> Asked:
    made = {index: (card,) for index, card in DGX_H100.items()}
    return Asked(by_hand=made | {int(key[3:]): tuple(card.split("+")) for key, card in changed.items()})


def test_a_map_by_hand_that_is_right_passes() -> None:
    assert build("dgx-h100", by_hand()).problems == ()


def test_a_map_by_hand_that_differs_and_costs_nothing_passes_and_is_taken() -> None:
    parts = read_parts("dgx-h100") | {"gpus": "", "topo": ""}
    moved = parts["sys"].replace("pci0000:3d/0000:3d:01.0/0000:3e:00.0", "pci0000:15/0000:15:01.0/0000:16:00.0")
    made = build(parts | {"sys": moved}, by_hand(gpu0="mlx5_3", gpu1="mlx5_0"))
    assert made.problems == ()
    assert made.pairs[0].ports[0].hca == "mlx5_3"


def test_two_cards_swapped_across_the_processors_are_refused_with_the_cost() -> None:
    made = build("dgx-h100", by_hand(gpu0="mlx5_6", gpu4="mlx5_0"))
    found = find_problem(made, "mlx5_6 by hand, mlx5_0 by the topology: SYS instead of PXB")
    assert "GPUDirect is off" in found.what
    assert found.mend == "rdma_map: 0=mlx5_0"
    assert len(made.problems) == 2


def test_all_gpus_on_one_card_cost_eight_times_and_the_slowest_sets_the_pace() -> None:
    made = build("dgx-h100", Asked(by_hand=dict.fromkeys(range(8), ("mlx5_0",))))
    assert "50 instead of 400 Gb/s, shared by 8 GPUs: 8x slower" in made.problems[0].what
    assert find_problem(made, "8x slower on every all-reduce")


def test_a_slow_storage_card_by_hand_is_told_with_its_factor() -> None:
    parts = put(read_parts("dgx-h100"), f"{IB}/mlx5_1/ports/1/rate", "20 Gb/sec")
    made = build(parts, by_hand(gpu0="mlx5_1"))
    assert "20 instead of 400 Gb/s: 20x slower" in find_problem(made, "mlx5_1 by hand").what


def test_a_map_by_hand_names_every_gpu_once_and_no_stranger() -> None:
    made = build("dgx-h100", Asked(by_hand={0: ("mlx5_0",), 9: ("mlx5_3",)}))
    assert "GPU9 is not there; GPU1 is left out" in find_problem(made, "is left out").what
    made = build("dgx-h100", Asked(by_hand={index: (card,) for index, card in DGX_H100.items() if index != 7}))
    assert find_problem(made, "GPU7 is left out")
    with pytest.raises(DsopsError, match="names a GPU twice"):
        parse_map(["0=mlx5_0", "0=mlx5_1"], where="rdma_map")
    with pytest.raises(DsopsError, match="is no pair of GPU and card"):
        parse_map(["GPU0:mlx5_0"], where="rdma_map")
    assert parse_map(["0=mlx5_0", "1=mlx5_1,mlx5_2"], where="x") == {0: ("mlx5_0",), 1: ("mlx5_1", "mlx5_2")}
