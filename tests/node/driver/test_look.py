"""What the gate reads: PCI, links of libraries, GRUB's entries, and a driver that does not answer."""

import sys
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.node.driver.ask import ask, ask_patiently
from dsops.node.driver.look import find_library, look, read_manager
from dsops.node.driver.modules import DROP_IN, choose_kernel
from dsops.node.driver.place import Place
from dsops.node.run import Done

from tests.core.drivers.sets import DEBIAN
from tests.node.driver.server import Server, put_set

GRUB = """
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1234-ab' {
  linux /boot/vmlinuz-6.1.0-99-amd64 root=UUID=1234-ab ro
}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced-1234-ab' {
  menuentry 'Debian, with Linux 6.1.0-99-amd64' $menuentry_id_option 'gnulinux-6.1.0-99-amd64-advanced-1234-ab' {
    linux /boot/vmlinuz-6.1.0-99-amd64 root=UUID=1234-ab ro
  }
  menuentry 'Debian, with Linux 6.1.0-56-amd64' $menuentry_id_option 'gnulinux-6.1.0-56-amd64-advanced-1234-ab' {
    linux /boot/vmlinuz-6.1.0-56-amd64 root=UUID=1234-ab ro
  }
}
"""


def test_gpus_are_counted_on_pci_and_other_devices_are_not(tmp_path: Path) -> None:
    put_set(tmp_path, DEBIAN)
    server = Server(tmp_path, DEBIAN.kernel.release, gpus=2)
    server.write("/sys/bus/pci/devices/0000:09:00.0/vendor", "0x10de")
    server.write("/sys/bus/pci/devices/0000:09:00.0/class", "0x068000")
    server.write("/sys/bus/pci/devices/0000:0a:00.0/vendor", "0x1234")
    server.write("/sys/bus/pci/devices/0000:0a:00.0/class", "0x030000")
    place = Place(tmp_path)
    assert look(place, place.get_set(DEBIAN.name), run=server.run, ask=lambda: server.asked).gpus == 2


def test_a_fabric_manager_that_is_not_there_is_a_fault_of_this_boot_and_not_a_gate_that_cannot_look() -> None:
    def run(argv: object, *, timeout: float = 10, input: bytes = b"") -> Done:
        raise DsopsError("nv-fabricmanager is not installed")

    assert read_manager(run=run) == ""
    assert read_manager(run=lambda argv, **_: Done(0, "Fabric Manager version is : 570.133.20\n", "")) == "570.133.20"


def test_a_librarys_version_is_in_the_file_that_its_links_lead_to(tmp_path: Path) -> None:
    server = Server(tmp_path, "k")
    assert find_library(Place(tmp_path), "libcuda.so.1") == ""
    server.link_libraries("535.309.01")
    assert find_library(Place(tmp_path), "libcuda.so.1") == "535.309.01"
    (tmp_path / "usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.535.309.01").unlink()
    assert find_library(Place(tmp_path), "libcuda.so.1") == ""


def test_links_that_go_round_end(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    (folder / "libcuda.so.1").symlink_to("libcuda.so.2")
    (folder / "libcuda.so.2").symlink_to("libcuda.so.1")
    assert find_library(Place(tmp_path), "libcuda.so.1") == ""


def run_grub(argv: object, *, timeout: float = 10, input: bytes = b"") -> Done:
    return Done(0, "", "")


def test_an_older_kernel_than_the_newest_is_made_grubs_default(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "boot/grub").mkdir(parents=True)
    (tmp_path / "boot/grub/grub.cfg").write_text(GRUB)
    choose_kernel(place, "6.1.0-56-amd64", run=run_grub)
    wanted = 'GRUB_DEFAULT="gnulinux-advanced-1234-ab>gnulinux-6.1.0-56-amd64-advanced-1234-ab"'
    assert wanted in place.read(DROP_IN)
    choose_kernel(place, "6.1.0-99-amd64", run=run_grub)
    assert not (place / DROP_IN).exists()
    with pytest.raises(DsopsError, match=r"GRUB has no entry for kernel 6\.1\.0-1-amd64"):
        choose_kernel(place, "6.1.0-1-amd64", run=run_grub)


def test_where_there_is_no_grub_the_boot_loader_is_left_alone(tmp_path: Path) -> None:
    choose_kernel(Place(tmp_path), "6.1.0-56-amd64", run=run_grub)
    assert not (tmp_path / "etc").exists()


def say(text: str) -> list[str]:
    return [sys.executable, "-c", f"print({text!r})"]


def test_a_driver_that_does_not_answer_is_an_answer() -> None:
    asked = ask([sys.executable, "-c", "import time; time.sleep(60)"], seconds=0.3)
    assert (asked.hung, asked.says) == (True, "no answer in 0.3 s")
    assert ask(say("nothing")).hung
    assert ask(["/no/such/program"]).hung
    assert ask(say('{"nvml": 18, "says": "mismatch"}')).nvml == 18


def test_a_fabric_that_is_being_trained_is_asked_again(tmp_path: Path) -> None:
    pauses: list[float] = []
    mark = f"""
import pathlib
mark = pathlib.Path({str(tmp_path / "asked")!r})
print('{{"nvml": 0, "fabric": [3, %d]}}' % (3 if mark.exists() else 2))
mark.touch()
"""
    asked = ask_patiently([sys.executable, "-c", mark], sleep=pauses.append)
    assert asked.fabric == (3, 3)
    assert pauses == [5.0]
    assert ask_patiently(say('{"nvml": 0, "fabric": [3, 3]}'), sleep=lambda _: pytest.fail("waited")).fabric == (3, 3)
