"""`dsops init`: an inventory to edit that the rest of dsops can read at once."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from dsops.control.cli.init import init, render_group_data, render_inventory
from dsops.control.doctor.defaults import read_keys
from dsops.control.doctor.site import PLACES
from dsops.control.fleet.inventory import find_inventory, get_fleet
from dsops.core.errors import DsopsError

from tests.control.doctor.sites import ROOT


def call(*words: str) -> Result:
    return CliRunner().invoke(init, list(words))


def test_the_example_in_the_checkout_is_what_init_writes() -> None:
    assert (ROOT / "inventory/example.py").read_text() == render_inventory("example")
    assert (ROOT / "inventory/group_data/example.py").read_text() == render_group_data("example")


def test_what_it_writes_can_be_read(tmp_path: Path) -> None:
    shown = call("north", "--dir", str(tmp_path))
    assert shown.exit_code == 0
    fleet = get_fleet(tmp_path / "inventory/north.py")
    assert fleet.names == ["lb1", "gpu1", "gpu2", "gpu3", "mon1"]
    assert {server.role for server in fleet.servers} == {"lb", "gpu", "mon"}
    assert fleet.get_server("gpu3").data["agent_gpus"] == 4
    assert fleet.get_server("mon1").data["ssh_known_hosts_file"] == "/etc/dsops-site/north/known_hosts"
    assert find_inventory(tmp_path) == tmp_path / "inventory/north.py"


def test_every_key_that_must_be_given_is_in_it_and_every_one_is_known() -> None:
    keys = read_keys(ROOT)
    given = {key for server in get_fleet(ROOT / "inventory/example.py").servers for key in server.data}
    assert {name for name, key in keys.items() if key.is_required and key.role in PLACES} <= given
    assert not {key for key in given if key not in keys and not key.startswith("ssh_")}


def test_nothing_in_it_is_secret_and_secrets_lie_outside_of_git() -> None:
    fleet = get_fleet(ROOT / "inventory/example.py")
    paths = {value for s in fleet.servers for key, value in s.data.items() if key.endswith(("_file", "ssh_key"))}
    assert paths
    assert all(path.startswith("/etc/dsops-site/example/") for path in paths)
    assert "PRIVATE KEY" not in render_group_data("x")


def test_it_says_what_to_do_next_in_order(tmp_path: Path) -> None:
    shown = call("--dir", str(tmp_path)).output
    path = tmp_path / "inventory/site.py"
    words = ["console or BMC", "ssh-keygen -lf", "dsops secrets", "dsops bundle verify", "dsops doctor", "dsops deploy"]
    assert [shown.find(word) for word in words] == sorted(shown.find(word) for word in words)
    assert -1 not in [shown.find(word) for word in words]
    assert f"dsops deploy -i {path}" in shown


@pytest.mark.parametrize("kept", ["inventory/site.py", "inventory/group_data/site.py"])
def test_it_never_overwrites_and_writes_both_or_none(tmp_path: Path, kept: str) -> None:
    (tmp_path / "inventory/group_data").mkdir(parents=True)
    (tmp_path / kept).write_text("mine")
    error = call("--dir", str(tmp_path)).exception
    assert isinstance(error, DsopsError)
    assert "is not overwritten" in error.what
    assert [file.name for file in tmp_path.rglob("*.py")] == ["site.py"]
    assert (tmp_path / kept).read_text() == "mine"


@pytest.mark.parametrize("name", ["all", "gpu", "lab", "example", "North", "../x", "a.b", "", "1a"])
def test_names_that_would_mean_something_else_are_refused(tmp_path: Path, name: str) -> None:
    assert isinstance(call(name, "--dir", str(tmp_path)).exception, DsopsError)
    assert list(tmp_path.iterdir()) == []


def test_outside_of_a_checkout_it_asks_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    error = call().exception
    assert isinstance(error, DsopsError)
    assert error.mend == "cd into the checkout, or give --dir"
