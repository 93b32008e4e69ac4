"""Where a plan comes from: another checkout, bundle or inventory is noticed, and nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from dsops.control.fleet.inventory import get_fleet
from dsops.control.plan.origin import find_other, read_origin
from dsops.core.errors import DsopsError
from dsops.core.plan import Origin


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "deploy/site.py": "",
        "roles/base/deploy.py": "one",
        "docs/x.md": "",
        "inventory/site.py": 'gpu = [("n1", {"ssh_hostname": "192.0.2.1"})]\n',
        "inventory/group_data/all.py": 'bundle_path = "bundle"\n',
        "bundle/SHA256SUMS": f"{'0' * 64}  file\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def origin(root: Path) -> Origin:
    return read_origin(root, get_fleet(root / "inventory/site.py"), limit=())


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("roles/base/deploy.py", "two", "deploy/ or roles/ of the checkout is another one now"),
        ("deploy/more.py", "", "deploy/ or roles/ of the checkout is another one now"),
        ("bundle/SHA256SUMS", f"{'1' * 64}  file\n", "the bundle is another one now"),
        ("inventory/group_data/gpu.py", "gateway_port = 1\n", "what the inventory says of the servers is another one"),
    ],
)
def test_what_decides_a_deploy_is_noticed(root: Path, file: str, text: str, said: str) -> None:
    before = origin(root)
    (root / file).write_text(text)
    assert find_other(before, origin(root)).startswith(said)


def test_what_does_not_is_left_out(root: Path) -> None:
    before = origin(root)
    (root / "docs/x.md").write_text("more")
    (root / "roles/base/__pycache__").mkdir()
    (root / "roles/base/__pycache__/deploy.pyc").write_text("x")
    assert find_other(before, origin(root)) == ""


def test_another_dsops_is_noticed(root: Path) -> None:
    said = find_other(replace(origin(root), dsops="0.0.9"), origin(root))
    assert said == "dsops itself is another one now: 0.1.0 instead of 0.0.9"


def test_a_bundle_that_is_not_there_is_told(root: Path) -> None:
    (root / "bundle/SHA256SUMS").unlink()
    with pytest.raises(DsopsError, match="cannot be read"):
        origin(root)


def test_an_inventory_without_a_bundle_is_told(root: Path) -> None:
    (root / "inventory/group_data/all.py").write_text("")
    with pytest.raises(DsopsError, match="no server has a bundle_path"):
        origin(root)
