"""What a deploy must refuse on a real machine: it says why, and leaves everything as it was."""

import subprocess

import pytest
from dsops.control.fleet.inventory import get_fleet
from dsops.control.plan.reboot import Pace, ask_as_root, reboot
from dsops.core.errors import DsopsError

from tests.metal.machine import INVENTORY, ROOT, Machine

pytestmark = [pytest.mark.metal, pytest.mark.thorough, pytest.mark.timeout(900)]
HASH = "head -c 256M {} | sha256sum"


def refuse(machine: Machine, role: str) -> str:
    """What a deploy of one role says that must fail, without a traceback."""
    argv = machine.first_roles(role)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False, cwd=ROOT)
    said = done.stdout + done.stderr
    assert done.returncode not in (0, -9), said
    assert "Traceback" not in said, said
    return said


def test_a_disk_with_data_is_refused_and_keeps_every_byte(based: Machine) -> None:
    disk = based.on("lsblk -dnpo NAME,TRAN | awk '$2 == \"nvme\" {print $1}'")
    based.on(f"mkfs.ext4 -q -L precious {disk} && mount {disk} /mnt && echo kept > /mnt/file && umount /mnt")
    before = based.on(HASH.format(disk))
    said = refuse(based, "storage")
    assert "holds ext4" in said
    assert "storage_erase_serials" in said
    assert based.on(HASH.format(disk)) == before
    assert based.on("findmnt -rno TARGET /var/lib/dsops || echo none") == "none"


def test_a_disk_of_another_kind_than_wanted_is_refused(based: Machine) -> None:
    hidden = based.on("echo 1 > /sys/block/nvme0n1/device/device/remove; sleep 1; lsblk -dnpo NAME,TRAN")
    assert "nvme" not in hidden
    said = refuse(based, "storage")
    assert "nvme" in said
    assert based.on("findmnt -rno TARGET /var/lib/dsops || echo none") == "none"


def test_a_swap_file_that_would_fill_the_disk_is_refused_with_figures(based: Machine) -> None:
    based.on("fallocate -l $(( $(df --output=avail -B1 / | tail -1) - 1600000000 )) /filler")
    said = refuse(based, "swap")
    assert "GiB" in said
    assert based.on("swapon --show=NAME --noheadings; test ! -e /swapfile && echo none") == "none"
    based.on("rm /filler")
    assert based.deploy_first("swap").changed
    assert based.on("swapon --show=NAME --noheadings") == "/swapfile"


def test_a_reboot_that_never_comes_back_ends_in_words_at_its_limit(based: Machine) -> None:
    fleet = get_fleet(INVENTORY)
    server = fleet.get_server(based.name)
    based.on(r"sed -i 's/root=[^ ]*/root=UUID=gone/' /boot/grub/grub.cfg && sync")
    with pytest.raises(DsopsError, match="did not come back within 90 s") as caught:
        reboot(based.name, ask_as_root(fleet, server), pace=Pace(limit=90))
    assert caught.value.where == based.name
    assert caught.value.mend
