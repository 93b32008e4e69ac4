"""The memory that a unit's processes have for themselves."""

from pathlib import Path

import pytest
from dsops.node.sources.cgroups import Use, read_use
from dsops.node.sources.unread import Unread

GROUP = "/system.slice/system-triton.slice/triton@a.service"


def write(root: Path, stat: str, most: str = "max\n") -> None:
    folder = root / "sys/fs/cgroup" / GROUP.lstrip("/")
    folder.mkdir(parents=True)
    (folder / "memory.stat").write_text(stat)
    (folder / "memory.max").write_text(most)


@pytest.mark.parametrize(("most", "limit"), [("max\n", None), ("8589934592\n", 8 << 30)])
def test_the_page_cache_is_nobodys_own(tmp_path: Path, most: str, limit: int | None) -> None:
    write(tmp_path, "anon 1000\nfile 90000\nshmem 24\nfile_mapped 7\n", most)
    assert read_use(tmp_path, GROUP) == Use(1024, limit)


@pytest.mark.parametrize(
    ("stat", "most"), [("anon 1000\n", "max"), ("anon x\nshmem 1\n", "max"), ("anon 1\nshmem 2\n", "much")]
)
def test_what_is_no_number_is_told(tmp_path: Path, stat: str, most: str) -> None:
    write(tmp_path, stat, most)
    found = read_use(tmp_path, GROUP)
    assert isinstance(found, Unread)
    assert not found.is_missing


def test_without_a_group_or_in_the_old_hierarchy_nothing_is_there(tmp_path: Path) -> None:
    for group in ("", GROUP):
        found = read_use(tmp_path, group)
        assert isinstance(found, Unread)
        assert found.is_missing
