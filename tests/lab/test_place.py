"""Names, addresses and files of a lab."""

import runpy
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from dsops.lab.place import GUESTS, LAB, SERVERS


def test_every_server_has_an_address_of_both_families_inside_the_lab() -> None:
    for server in LAB.everyone:
        assert LAB.address(server) in LAB.subnet
        assert LAB.address6(server) in LAB.subnet6
    assert len(LAB.names()) == 2 * len(LAB.everyone)


def test_two_labs_share_no_ipv6_addresses() -> None:
    other = replace(LAB, subnet=IPv4Network("10.98.0.0/24"))
    assert not LAB.subnet6.overlaps(other.subnet6)
    assert LAB.subnet6.is_private


def test_a_machine_and_its_link_fit_the_kernels_15_letters() -> None:
    assert all(len(f"vb-{LAB.machine(server)}") <= 15 for server in LAB.servers)


def test_the_inventory_names_the_same_servers_at_the_same_addresses() -> None:
    inventory = runpy.run_path(str(Path(__file__).parents[2] / "inventory" / "lab.py"))
    groups = (inventory["lb"], inventory["gpu"], inventory["mon"])
    hosts = {name: data["ssh_hostname"] for group in groups for name, data in group}
    assert hosts == {server.name: str(LAB.address(server)) for server in SERVERS}
    assert [name for name, _ in inventory["gpu"]] == [server.name for server in SERVERS if server.gpus]
    metal = runpy.run_path(str(Path(__file__).parents[2] / "inventory" / "metal.py"))
    hosts = {name: data["ssh_hostname"] for group in (metal["machines"],) for name, data in group}
    assert hosts == {guest.name: str(LAB.address(guest)) for guest in GUESTS}
