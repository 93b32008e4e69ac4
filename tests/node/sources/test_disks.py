"""Which disk lies below a path, and what the kernel counted of it."""

from pathlib import Path

import pytest
from dsops.node.sources.disks import Disk, count_disks, read_disks
from dsops.node.sources.unread import Unread

MOUNTS = (
    "27 1 254:3 / / rw - ext4 /dev/mapper/root rw\n"
    "28 27 0:40 / /hot rw - btrfs /dev/nvme0n1p1 rw\n"
    "29 27 0:41 / /nfs rw - nfs4 server:/x rw\n"
)
STATS = (
    " 254 3 dm-3 10 0 80 100 5 0 40 50 2 90 150 0 0 0 0 0 0\n"
    " 259 2 nvme0n1p1 1 0 8 9 1 0 8 3 0 4 5\n"
)  # fmt: skip


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "proc/self/mountinfo", MOUNTS)
    write(tmp_path, "proc/diskstats", STATS)
    # As /sys has it: a partition lies in the folder of its disk.
    write(tmp_path, "sys/devices/nvme0n1/queue/rotational", "0\n")
    (tmp_path / "sys/devices/nvme0n1/nvme0n1p1").mkdir()
    (tmp_path / "sys/class/block").mkdir(parents=True)
    (tmp_path / "sys/class/block/nvme0n1p1").symlink_to("../../devices/nvme0n1/nvme0n1p1")
    return tmp_path


def test_a_disk_is_found_by_its_number_or_else_by_its_name(root: Path) -> None:
    found = read_disks(root, ("/", "/hot/models"))
    assert found["/"] == Disk("dm-3", 2, is_rotational=True, done=15, wait_ms=150, busy_ms=90)
    assert found["/hot/models"] == Disk("nvme0n1p1", 0, is_rotational=False, done=2, wait_ms=12, busy_ms=4)
    assert count_disks(found)["disk/hot/models/done"] == 2


def test_what_lies_on_another_server_has_no_disk_here(root: Path) -> None:
    found = read_disks(root, ("/nfs",))["/nfs"]
    assert isinstance(found, Unread)
    assert found.is_missing


@pytest.mark.parametrize("stats", [" 254 3 dm-3 10 0\n", " 254 3 dm-3 x 0 80 100 5 0 40 50 2 90 150\n"])
def test_less_than_the_kernel_says_is_no_number(root: Path, stats: str) -> None:
    write(root, "proc/diskstats", stats)
    found = read_disks(root, ("/",))
    assert isinstance(found["/"], Unread)
    assert not found["/"].is_missing
    assert count_disks(found)["disk//done"] == found["/"]


def test_without_its_files_nothing_is_known(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/mountinfo", MOUNTS)
    assert isinstance(read_disks(tmp_path, ("/",))["/"], Unread)


def test_this_very_machine_is_read() -> None:
    [found] = read_disks(Path("/"), ("/",)).values()
    assert isinstance(found, Disk) or found.is_missing
