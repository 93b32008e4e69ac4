"""What people left for the agent: read again when it changes, never a reason to fail, and said when it is none."""

import os
from pathlib import Path

import pytest
from dsops.core.baseline import Baseline, Number
from dsops.core.maintenance import Maintenance
from dsops.node.sources.papers import BASELINE, MAINTENANCE, Papers, PapersReader

FANS = Maintenance("fans", "kim", 1.0, 7201.0)
HELD = Baseline(5.0, "kim", "commissioned", (Number("gpu0", "width", 16.0),))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path


def put(root: Path, name: str, text: str) -> Path:
    """As the helper does it: another file takes its place."""
    path = root / name
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)
    return path


def test_there_may_be_none(root: Path) -> None:
    assert PapersReader(root).read() == Papers()
    assert PapersReader(root / "nowhere").read() == Papers()


def test_each_change_is_seen_and_so_is_its_end(root: Path) -> None:
    reader = PapersReader(root)
    put(root, BASELINE, HELD.to_json())
    path = put(root, MAINTENANCE, FANS.to_json())
    assert reader.read() == Papers(HELD, FANS)
    other = Maintenance("card", "kim", 1.0, 7201.0)
    when = path.stat().st_mtime_ns
    os.utime(put(root, MAINTENANCE, other.to_json()), ns=(when, when))  # as old and as long as the one before
    assert reader.read() == Papers(HELD, other)
    path.unlink()
    assert reader.read() == Papers(HELD)


def test_what_did_not_change_is_not_read_again(root: Path) -> None:
    put(root, BASELINE, HELD.to_json())
    reader = PapersReader(root)
    assert reader.read().baseline is reader.read().baseline


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 9}', '{"version": 1}'])
def test_one_that_is_none_is_said_until_it_is_mended(root: Path, text: str) -> None:
    reader = PapersReader(root)
    put(root, MAINTENANCE, FANS.to_json())
    reader.read()
    put(root, MAINTENANCE, text)
    for _ in range(2):
        seen = reader.read()
        assert seen.maintenance is None
        assert "maintenance.json" in seen.reason
    put(root, MAINTENANCE, FANS.to_json())
    assert reader.read() == Papers(None, FANS)


def test_one_that_cannot_be_read_is_said_too(root: Path) -> None:
    (root / BASELINE).mkdir()
    seen = PapersReader(root).read()
    assert seen.baseline is None
    assert "cannot be read (Is a directory)" in seen.reason
