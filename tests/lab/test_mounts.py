"""What the kernel says about mounts, and what is never deleted."""

from pathlib import Path

import pytest
from dsops.lab.mounts import Mount, mounts_below, parse_mountinfo, remove_tree, unmount_below

TEXT = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
99 22 0:39 / /lab/hosts/gpu1/root rw - overlay dsops-lab rw,lowerdir=/b,upperdir=/lab/hosts/gpu1/upper
100 22 7:0 / /lab/with\\040space rw - ext4 /dev/loop0 rw
broken line
"""


def test_mounts_are_read_in_the_kernels_order() -> None:
    mounts = parse_mountinfo(TEXT)
    assert [mount.point for mount in mounts] == [
        Path("/"),
        Path("/lab/hosts/gpu1/root"),
        Path("/lab/with space"),
    ]
    assert mounts[1] == Mount(
        Path("/lab/hosts/gpu1/root"), "overlay", "dsops-lab", "rw,lowerdir=/b,upperdir=/lab/hosts/gpu1/upper"
    )


def test_a_folder_without_mounts_needs_no_unmounting(tmp_path: Path) -> None:
    assert unmount_below(tmp_path) == 0


def test_a_tree_goes_and_may_be_gone_already(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    remove_tree(tmp_path / "a")
    remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_tree_with_a_mount_below_is_never_deleted() -> None:
    with pytest.raises(Exception, match="still mounted"):
        remove_tree(Path("/proc"))
    assert mounts_below(Path("/proc"))
