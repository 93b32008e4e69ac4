"""`dsops verify`: the line that it runs, what it collects, and what it says of a server that is gone."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from dsops.control.cli.verify import render_command, verify
from dsops.control.fleet.inventory import get_fleet
from dsops.core.errors import DsopsError

ROOT = Path(__file__).parents[2]
FILES = sorted(ROOT.glob("roles/*/verify.py"))


def write_inventory(folder: Path) -> Path:
    path = folder / "site.py"
    data = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_key": "/x", "ssh_known_hosts_file": "/x"}
    path.write_text(f"gpu = [('gpu1', {data!r}), ('gpu2', {data!r})]\nlb = [('lb1', {data!r})]\n")
    return path


def run(path: Path, *words: str) -> str:
    argv = render_command(get_fleet(path), limit=(), verbose=False)
    done = subprocess.run([*argv, *words], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=[file.parent.name for file in FILES])
def test_every_role_has_checks_with_names_that_are_sentences(file: Path) -> None:
    tree = ast.parse(file.read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert len(names) >= 4
    assert all(name.count("_") >= 3 for name in names)
    assert any(isinstance(node, ast.Assign) and node.targets[0].id == "GROUPS" for node in tree.body)  # type: ignore[attr-defined]


def test_every_role_can_be_verified() -> None:
    roles = {path.parent.name for path in ROOT.glob("roles/*/deploy.py")}
    assert {file.parent.name for file in FILES} == roles


def test_each_check_meets_the_servers_of_its_groups_only(tmp_path: Path) -> None:
    listed = run(write_inventory(tmp_path), "--collect-only")
    assert "roles/gateway/verify.py::test_the_gateway_is_healthy[gpu1]" in listed
    assert "roles/gateway/verify.py::test_the_gateway_is_healthy[gpu2]" in listed
    assert "roles/gateway/verify.py::test_the_gateway_is_healthy[lb1]" not in listed
    assert "roles/base/verify.py::test_the_clock_is_right[lb1]" in listed


def test_a_limit_leaves_the_others_out(tmp_path: Path) -> None:
    listed = run(write_inventory(tmp_path), "--collect-only", "--limit", "gpu2")
    assert "[gpu2]" in listed
    assert "[gpu1]" not in listed
    assert "[lb1]" not in listed


def test_a_server_that_is_gone_fails_once_and_by_name(tmp_path: Path) -> None:
    said = run(write_inventory(tmp_path), "--limit", "lb1", "-k", "clock or failed or apt")
    assert said.count("lb1 cannot be reached by ssh: ssh: connect to host 127.0.0.1 port 1: Connection refused") == 1
    assert "1 error" in said
    assert "Traceback" not in said


def test_a_misspelt_server_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(verify, ["-i", str(write_inventory(tmp_path)), "--limit", "gpu3", "--root", str(ROOT)])
    assert isinstance(result.exception, DsopsError)
    assert "no such node or group 'gpu3'" in str(result.exception)


def test_the_ordinary_tests_do_not_collect_the_checks() -> None:
    words = [sys.executable, "-m", "pytest", "roles", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert "no tests collected" in done.stdout
