"""`dsops deploy`: the line that it runs can be typed by hand, limits are checked, and pyinfra's end is its end."""

import os
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from dsops.control.cli.deploy import deploy, find_pyinfra, render_command, run_told
from dsops.control.plan.dry import render_command as render_plan
from dsops.control.rollout.memory import Memory
from dsops.control.rollout.store import Store
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
    error = CliRunner().invoke(deploy, list(map(str, words))).exception
    assert isinstance(error, DsopsError), error
    return error


def test_the_line_is_pyinfras_own(tmp_path: Path) -> None:
    argv = render_command(tmp_path, tmp_path / "site.py", limit=("gpu", "lb1"), dry=False, verbose=2)
    assert argv[0] == str(Path(sys.executable).with_name("pyinfra"))
    wanted = ["--chdir", str(tmp_path), "-y", "-vv", "--limit", "gpu", "--limit", "lb1"]
    assert argv[1:] == [*wanted, str(tmp_path / "site.py"), "deploy/site.py"]


def test_what_must_not_come_forward_goes_along_and_into_plans(tmp_path: Path, state_folder: Path) -> None:
    Store(state_folder, tmp_path / "site.py").change_fleet(lambda _: Memory(halted="two fell").to_json())
    words = '_dsops_hold={"why": "the fleet is halted: two fell", "bad": {}}'
    assert words in render_command(tmp_path, tmp_path / "site.py", limit=(), dry=False, verbose=0)
    assert words in render_plan(tmp_path, tmp_path / "site.py", limit=(), book=tmp_path / "book")


def test_a_dry_run_asks_pyinfra_for_one(tmp_path: Path) -> None:
    argv = render_command(tmp_path, tmp_path / "site.py", limit=(), dry=True, verbose=0)
    assert "--dry" in argv
    assert "-y" not in argv


def test_a_limit_that_is_neither_server_nor_group_gets_its_neighbour(inventory: Path) -> None:
    error = error_of("-i", inventory, "--root", inventory.parents[1], "--limit", "gpu9")
    assert error.what == "no such node 'gpu9'"
    assert error.mend == "did you mean gpu1?"


def test_outside_of_a_checkout_it_says_so(inventory: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    error = error_of("-i", inventory, "--root", tmp_path_factory.mktemp("elsewhere"))
    assert error.what == "not inside a dsops checkout"


def test_a_missing_pyinfra_is_told(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="pyinfra is not installed"):
        find_pyinfra(tmp_path)


def script(folder: Path, text: str) -> list[str]:
    """Stands in for pyinfra."""
    file = folder / "pyinfra"
    file.write_text(f"#!/bin/sh\n{text}")
    file.chmod(0o755)
    return [str(file)]


def test_pyinfras_exit_code_and_words_come_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = "--> Starting operation: a\n    [gpu1] oh no\n    [gpu1] Error: executed 0 commands\n"
    assert run_told(script(tmp_path, f"printf %s {shlex.quote(log)}; exit 7")) == 7
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["  a: FAILED on gpu1", "    gpu1: oh no"]
    assert out[2].startswith("1 operations on 1 servers: 1 failed, 0 changed")


def test_words_that_are_no_text_do_not_break_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_told(script(tmp_path, "printf 'bad \\377 byte\\n' >&2; exit 1")) == 1
    assert "bad \ufffd byte" in capsys.readouterr().out


def test_a_wrong_host_key_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_told(script(tmp_path, "echo '    [gpu1] SSH host key error: no match'; exit 1"))
    out = capsys.readouterr().out
    assert "mend: read the key's fingerprint at the server's console" in out
    assert "stopped before anything was changed" in out


def test_no_spinner_is_drawn_into_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_told(script(tmp_path, 'echo "progress $PYINFRA_PROGRESS"'))
    assert "progress off" in capsys.readouterr().out
    assert "PYINFRA_PROGRESS" not in os.environ
