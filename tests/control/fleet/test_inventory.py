"""The inventory: the same data as pyinfra sees, and clear words for what is wrong with it."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from dsops.control.fleet.inventory import CONTROL_KEYS, find_inventory, get_fleet
from dsops.core.errors import DsopsError

LAB = """
_net = "10.99.0."
lb = [("lb1", {"ssh_hostname": _net + "10"})]
gpu = (["gpu1", ("gpu2", {"gpus": 4, "where": "host"})], {"where": "group", "rack": 1})
mon = ["mon1"]
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/site.py").touch()
    (tmp_path / "inventory/group_data").mkdir(parents=True)
    write(tmp_path / "inventory/lab.py", LAB)
    write(
        tmp_path / "inventory/group_data/all.py",
        'import os\nwhere = "all"\nzone = "all"\ndsops_ca_file = "pki/ca.pem"',
    )
    write(tmp_path / "inventory/group_data/gpu.py", 'rack = 2\nzone = "gpu"')
    write(tmp_path / "inventory/group_data/lab.py", 'kind = "lab"')
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(dedent(text))
    return path


def test_host_wins_over_group_and_group_over_all(site: Path) -> None:
    fleet = get_fleet(site / "inventory/lab.py")
    assert fleet.names == ["lb1", "gpu1", "gpu2", "mon1"]
    one, two, lb = (fleet.get_server(n) for n in ("gpu1", "gpu2", "lb1"))
    assert one.data == {
        "where": "group",
        "rack": 2,
        "zone": "gpu",
        "dsops_ca_file": "pki/ca.pem",
        "kind": "lab",
    }
    assert (two.data["where"], two.data["gpus"], lb.data["zone"]) == ("host", 4, "all")
    assert (lb.address, one.address, one.role, one.groups) == ("10.99.0.10", "gpu1", "gpu", ("gpu",))
    assert [s.name for s in fleet.find_role("gpu")] == ["gpu1", "gpu2"]
    assert fleet.get_path(one, "dsops_ca_file") == site / "pki/ca.pem"


def test_pyinfra_sees_the_very_same_data(site: Path) -> None:
    code = f"""
import json
from pyinfra.api.state import State
from pyinfra.context import ctx_state
ctx_state.set(State())
from pyinfra_cli.inventory import make_inventory_from_files
i = make_inventory_from_files({str(site / "inventory/lab.py")!r}, cwd={str(site)!r})
seen = {{h.name: {{**i.get_data(), **i.get_groups_data(h.groups), **i.get_host_data(h.name)}} for h in i}}
print(json.dumps(seen))
"""
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    fleet = get_fleet(site / "inventory/lab.py")
    assert json.loads(done.stdout) == {s.name: dict(s.data) for s in fleet.servers}


def test_reading_it_does_not_import_pyinfra(site: Path) -> None:
    code = "import sys, pathlib; from dsops.control.fleet.inventory import get_fleet; "
    code += f"get_fleet(pathlib.Path({str(site / 'inventory/lab.py')!r})); assert 'pyinfra' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_group_called_all_may_hold_data(site: Path) -> None:
    path = write(site / "inventory/x.py", 'all = (["a", ("b", {"n": 2})], {"n": 1})\ngpu = ["a"]')
    fleet = get_fleet(path)
    assert [(s.name, s.data["n"], s.role) for s in fleet.servers] == [("a", 1, "gpu"), ("b", 2, "")]


def test_an_unknown_node_gets_its_neighbour(site: Path) -> None:
    fleet = get_fleet(site / "inventory/lab.py")
    with pytest.raises(DsopsError) as caught:
        fleet.get_server("gpu9")
    assert (caught.value.what, caught.value.mend) == ("no such node 'gpu9'", "did you mean gpu2?")
    fleet.check_name("gpu1")
    fleet.check_name("gpu")
    with pytest.raises(DsopsError, match="no such node or group 'gpus'"):
        fleet.check_name("gpus")


def test_a_misspelt_key_is_found_with_file_and_line(site: Path) -> None:
    write(site / "inventory/group_data/gpu.py", "rack = 2\n\ndsops_sh_key = 'x'")
    known = [*CONTROL_KEYS, "where", "rack", "zone", "kind", "gpus"]
    (problem,) = get_fleet(site / "inventory/lab.py").check_keys(known)
    assert problem.what == "unknown key 'dsops_sh_key'"
    assert problem.where == f"{site}/inventory/group_data/gpu.py:3"
    assert problem.mend == "did you mean dsops_ssh_key?"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('gpu = ["gpu1"\n', ":1", "is not Python: '[' was never closed"),
        ('\nx = 1 / 0\ngpu = ["a"]', ":2", "ZeroDivisionError"),
        ("\n\nimport dsops_no_such", ":3", "ModuleNotFoundError"),
        ("gpu = [1, 2]", ":1: gpu", "1 is no host"),
        ('\ngpu = ("gpu1", "gpu2")', ":2: gpu", "a group in round brackets is (hosts, data)"),
        ('gpu = [("gpu1", 3)]', ":1: gpu", "is no host"),
        ("x = 3", "", "no servers"),
        ("gpu = []", "", "no servers"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(site: Path, text: str, where: str, what: str) -> None:
    path = site / "inventory/bad.py"
    path.write_text(text)
    with pytest.raises(DsopsError) as caught:
        get_fleet(path)
    assert caught.value.where == f"{path}{where}"
    assert what in caught.value.what
    assert caught.value.mend


def test_broken_group_data_is_said_with_its_line(site: Path) -> None:
    path = write(site / "inventory/group_data/gpu.py", "rack = 2\nrack = rck")
    with pytest.raises(DsopsError, match="name 'rck' is not defined") as caught:
        get_fleet(site / "inventory/lab.py")
    assert caught.value.where == f"{path}:2"


def test_a_value_of_the_wrong_type_is_said_with_host_and_key(site: Path) -> None:
    path = write(site / "inventory/x.py", '\ngpu = [("gpu1", {"ssh_port": "22"})]')
    with pytest.raises(DsopsError) as caught:
        _ = get_fleet(path).get_server("gpu1").ssh_port
    assert str(caught.value) == f"{path}:2: gpu1: ssh_port should be a whole number, is '22'"


def test_a_missing_file_or_key_is_said(site: Path) -> None:
    with pytest.raises(DsopsError, match="no such inventory"):
        get_fleet(site / "inventory/none.py")
    with pytest.raises(DsopsError, match="dsops_ssh_key is not set"):
        get_fleet(site / "inventory/lab.py").get_server("gpu1").get("dsops_ssh_key", str)


def test_the_inventory_is_found_from_below_and_a_sites_own_goes_first(site: Path) -> None:
    below = site / "roles/triton"
    below.mkdir(parents=True)
    (site / "inventory/example.py").touch()
    assert find_inventory(below) == site / "inventory/lab.py"
    (site / "inventory/north.py").touch()
    assert find_inventory(below) == site / "inventory/north.py"
    (site / "inventory/south.py").touch()
    with pytest.raises(DsopsError, match=r"several inventories: north.py, south.py"):
        find_inventory(below)


def test_no_inventory_at_all_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(DsopsError) as caught:
        find_inventory(tmp_path)
    assert "dsops init" in caught.value.mend
