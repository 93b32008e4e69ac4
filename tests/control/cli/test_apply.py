"""`dsops apply`: refused before anything is looked at when the plan is none, or of another site."""

import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from dsops.control.cli.apply import apply, ask
from dsops.control.fleet.inventory import get_fleet
from dsops.control.plan.keep import write_plan
from dsops.control.plan.origin import read_origin
from dsops.core.errors import DsopsError
from dsops.core.plan import Plan, make_id

from tests.control.plan.plans import make_plan


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "deploy/site.py": "",
        "roles/base/deploy.py": "one",
        "inventory/site.py": 'gpu = ["gpu1"]\n',
        "inventory/group_data/all.py": 'bundle_path = "bundle"\n',
        "bundle/SHA256SUMS": f"{'0' * 64}  file\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def plan_of(root: Path) -> Plan:
    origin = read_origin(root, get_fleet(root / "inventory/site.py"), limit=())
    made = replace(make_plan(), origin=origin)
    return replace(made, id=make_id(made))


def error_of(path: Path) -> DsopsError:
    error = CliRunner().invoke(apply, [str(path), "--yes"]).exception
    assert isinstance(error, DsopsError), error
    return error


def test_another_checkout_is_refused(root: Path) -> None:
    path = write_plan(plan_of(root), None, root=root)
    (root / "roles/base/deploy.py").write_text("two")
    error = error_of(path)
    assert error.what.startswith("deploy/ or roles/ of the checkout is another one now: ")
    assert error.mend == "nothing was changed; `dsops plan` makes a new one"


def test_another_inventory_is_refused(root: Path) -> None:
    path = write_plan(plan_of(root), None, root=root)
    (root / "inventory/site.py").write_text('gpu = ["gpu1", "gpu2"]\n')
    assert error_of(path).what.startswith("what the inventory says of the servers is another one now")


def test_an_inventory_that_is_gone_is_told(root: Path) -> None:
    path = write_plan(plan_of(root), None, root=root)
    (root / "inventory/site.py").unlink()
    assert error_of(path).what == "there is no such inventory"


def test_what_is_no_plan_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in error_of(tmp_path / "none.json").what
    (tmp_path / "p.json").write_text("{}")
    assert error_of(tmp_path / "p.json").what == "is no plan of version 1"


def test_nobody_there_to_answer_is_no_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO(""))
    with pytest.raises(DsopsError, match="nobody answered, so nothing was changed"):
        ask(["gpu1"])
