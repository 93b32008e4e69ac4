"""`dsops plan`: expected errors before anything is looked at, and where its file lies."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from dsops.control.cli.plan import plan, render_path
from dsops.core.errors import DsopsError


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/site.py").write_text("")
    (tmp_path / "inventory").mkdir()
    path = tmp_path / "inventory/site.py"
    path.write_text("gpu = [('gpu1', {'ssh_hostname': '192.0.2.11'})]\n")
    return path


def error_of(*words: str | Path) -> DsopsError:
    error = CliRunner().invoke(plan, list(map(str, words))).exception
    assert isinstance(error, DsopsError), error
    return error


def test_a_limit_that_is_neither_server_nor_group_gets_its_neighbour(inventory: Path) -> None:
    error = error_of("-i", inventory, "--limit", "gpu9")
    assert error.what == "no such node or group 'gpu9'"
    assert error.mend == "did you mean gpu?"


def test_without_a_bundle_it_says_so_before_it_looks_at_servers(inventory: Path) -> None:
    assert error_of("-i", inventory).what == "no server has a bundle_path"


def test_the_checkout_is_the_inventorys_own(inventory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    assert error_of("-i", inventory, "--root", other).what == "not inside a dsops checkout"


def test_a_path_is_shown_as_one_would_type_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert render_path(tmp_path / "build/plans/x.json") == "build/plans/x.json"
    assert render_path(Path("/elsewhere/x.json")) == "/elsewhere/x.json"
