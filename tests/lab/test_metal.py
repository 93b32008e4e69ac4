"""The guests: what their disks begin with, how qemu is called, what is missing on a machine that cannot run them."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab.machine import METAL_PROGRAMS, MetalFacts, check_metal
from dsops.lab.metal import links
from dsops.lab.metal.guest import qemu_argv, render_rail
from dsops.lab.metal.image import FIRST_SECTOR, SECTOR, install_grub, render_grub, render_partition_table
from dsops.lab.place import GUESTS, LAB
from dsops.lab.server import render_network

METAL1, METAL2 = GUESTS
GOOD = MetalFacts(programs=frozenset(METAL_PROGRAMS), has_tun=True, free_gb=50, memory_gb=16)


def test_the_partition_reaches_to_the_disks_end_and_leaves_room_for_grub() -> None:
    table = render_partition_table(1 << 24)
    active, _, kind, _, start, sectors = struct.unpack("<B3sB3sII", table[6:22])
    assert (active, kind) == (0x80, 0x83)
    assert (start, start + sectors) == (FIRST_SECTOR, 1 << 24)
    assert len(table) == SECTOR - 440
    assert table[-2:] == b"\x55\xaa"


def test_grub_keeps_the_partition_table_and_lies_right_behind_it(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(440) + render_partition_table(1 << 20) + bytes(4 * SECTOR))
    install_grub(image, boot=b"B" * SECTOR, core=b"C" * 700)
    disk = image.read_bytes()
    assert disk[:440] == b"B" * 440
    assert disk[440:SECTOR] == render_partition_table(1 << 20)
    assert disk[SECTOR : SECTOR + 700] == b"C" * 700


def test_a_grub_that_would_run_into_the_partition_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(FIRST_SECTOR * SECTOR))
    with pytest.raises(DsopsError, match="does not fit before the partition"):
        install_grub(image, boot=bytes(SECTOR), core=bytes((FIRST_SECTOR - 1) * SECTOR + 1))
    assert not any(image.read_bytes())


def test_grub_finds_its_disk_by_uuid() -> None:
    config = render_grub("8c1f-uuid", "6.1.0-56-amd64")
    assert "--fs-uuid --set=root 8c1f-uuid" in config
    assert "linux /boot/vmlinuz-6.1.0-56-amd64 root=UUID=8c1f-uuid ro" in config


def test_a_guest_has_an_ssd_an_nvme_and_a_turning_disk_with_serials_of_its_own() -> None:
    line = " ".join(qemu_argv(LAB, METAL1, accelerator="tcg"))
    assert "ide-hd,drive=root,bus=ide.0,serial=SSD-metal1,rotation_rate=1" in line
    assert "nvme,drive=nvme,serial=NVME-metal1" in line
    assert "ide-hd,drive=sata,bus=ide.1,serial=HDD-metal1,rotation_rate=7200" in line


def test_guests_differ_in_every_name_and_address() -> None:
    for name in (links.front, links.rail, links.front_mac, links.rail_mac):
        assert name(LAB, METAL1) != name(LAB, METAL2)
    names = [name(LAB, guest) for guest in GUESTS for name in (links.front, links.rail)]
    assert all(len(name) <= 15 for name in [*names, LAB.rail_bridge])
    assert not LAB.rail.overlaps(LAB.subnet)


def test_only_the_management_card_has_a_way_out_and_it_leads_to_the_sink() -> None:
    front = render_network(LAB, METAL1, match="MACAddress=02:64:0a:63:00:1f")
    assert front.startswith(f"[Match]\nMACAddress={links.front_mac(LAB, METAL1)}\n")
    assert f"Gateway={LAB.gateway}" in front
    rail = render_rail(LAB, METAL1)
    assert f"Address={LAB.rail_address(METAL1)}/24" in rail
    assert "Gateway" not in rail
    assert "DNS" not in rail


def test_a_machine_that_can_run_guests_has_no_problem() -> None:
    assert check_metal(GOOD) == []


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (replace(GOOD, programs=frozenset({"blkid"})), "apt-get install --no-install-recommends qemu-system-x86"),
        (replace(GOOD, has_tun=False), "modprobe tun"),
        (replace(GOOD, free_gb=1.0), "1.0 GB are free"),
        (replace(GOOD, memory_gb=2.5), "2.5 GB of memory are free"),
    ],
)
def test_what_a_machine_lacks_is_said_with_its_mend(facts: MetalFacts, word: str) -> None:
    (problem,) = check_metal(facts)
    assert word in f"{problem.what} -> {problem.mend}"


def test_guests_that_are_made_already_need_no_more_room() -> None:
    assert check_metal(replace(GOOD, free_gb=0.1, memory_gb=1, whole=True)) == []
