"""The command itself: every verb is there, errors are words, bugs keep their traceback, completion needs nothing."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from dsops import main as main_module
from dsops.core.errors import DsopsError
from dsops.main import VERBS, cli, main

AGENT = Path(main_module.__file__).parents[1]
PATH = os.pathsep.join([str(AGENT), *sys.path])


def call(*words: str, stdout: int = subprocess.PIPE, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dsops", *words],
        env=os.environ | {"PYTHONPATH": PATH} | env,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


def leave(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], object]) -> int:
    """The exit code of main() when the command does `deed`."""
    monkeypatch.setattr(cli, "main", lambda **_: deed())
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def throw(error: BaseException) -> Callable[[], object]:
    def deed() -> object:
        raise error

    return deed


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_imports_and_has_help(verb: str) -> None:
    command = getattr(importlib.import_module(VERBS[verb][0]), verb)
    assert isinstance(command, click.Command)
    result = CliRunner().invoke(cli, [verb, "--help"])
    assert result.exit_code == 0, result.output
    assert command.help
    assert "Usage:" in result.output


def test_the_help_names_every_verb_and_imports_none() -> None:
    code = "import sys; from dsops.main import cli; cli.main(['-h'], standalone_mode=False); print(sorted(sys.modules))"
    env = os.environ | {"PYTHONPATH": PATH}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert all(verb in done.stdout and text in done.stdout for verb, (_, text) in VERBS.items())
    assert "dsops.control" not in done.stdout
    assert "'rich" not in done.stdout


@pytest.mark.parametrize(("word", "says"), [("stauts", "did you mean status?"), ("xyz", "`dsops -h` lists them")])
def test_an_unknown_verb_gets_its_neighbour(word: str, says: str) -> None:
    done = call(word)
    assert done.returncode == 2
    assert f"no such verb '{word}'" in done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_option_is_told() -> None:
    done = call("--colour")
    assert done.returncode == 2
    assert "No such option" in done.stderr


def test_the_version_is_told() -> None:
    assert call("--version").stdout.startswith("dsops, version ")


def test_an_expected_error_is_what_where_and_mend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = DsopsError("it is broken", where="/etc/x", mend="mend it")
    assert leave(monkeypatch, throw(error)) == 1
    assert capsys.readouterr() == ("", "error: /etc/x: it is broken\n  mend: mend it\n")
    assert leave(monkeypatch, throw(DsopsError("only this"))) == 1
    assert capsys.readouterr() == ("", "error: only this\n")


def test_an_expected_error_through_the_whole_command_shows_no_traceback(tmp_path: Path) -> None:
    done = call("bundle", "verify", str(tmp_path), "--allowed-signers", str(tmp_path / "x"))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}: not a bundle")
    assert "\n  mend: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "main", lambda **_: throw(ZeroDivisionError("a bug"))())
    with pytest.raises(ZeroDivisionError):
        main()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_a_stop_by_hand_is_no_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    assert leave(monkeypatch, throw(error)) == 130
    assert capsys.readouterr() == ("", "stopped\n")


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3), ("text", 0)])
def test_the_exit_code_is_the_verbs(monkeypatch: pytest.MonkeyPatch, returned: object, code: int) -> None:
    assert leave(monkeypatch, lambda: returned) == code
    assert leave(monkeypatch, throw(SystemExit(code))) == code


def test_a_reader_that_went_away_is_no_bug() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = call("--help", stdout=write)
    finally:
        os.close(write)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == 1


def test_a_missing_extra_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError('no', name='rich')\n")
    path = os.pathsep.join([str(tmp_path), PATH])
    done = call("bundle", "--help", PYTHONPATH=path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: `dsops bundle` needs rich, which is not installed here\n"
        "  mend: it runs on the control host: pip install 'dsops[control]'\n"
    )


def test_a_missing_module_of_ours_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_module, "VERBS", {"lost": ("dsops.no_such_module", "Lost.")})
    with pytest.raises(ModuleNotFoundError, match="dsops"):
        main_module.Verbs("x").get_command(click.Context(cli), "lost")


def complete(words: str, number: int, *, path: str = "") -> tuple[list[str], str]:
    done = call(_DSOPS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(number), PYTHONPATH=path or PATH)
    return [line.split(",", 1)[-1] for line in done.stdout.splitlines()], done.stderr


def test_verbs_complete_and_need_no_extra(tmp_path: Path) -> None:
    for module in ("rich", "paramiko", "cryptography"):
        (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('no', name='{module}')\n")
    path = os.pathsep.join([str(tmp_path), PATH])
    assert complete("dsops de", 1, path=path) == (["deploy"], "")
    assert complete("dsops ", 1, path=path) == (list(VERBS), "")
    assert complete("dsops --ver", 1) == (["--version"], "")


def test_what_follows_a_verb_completes() -> None:
    assert complete("dsops bundle ", 2) == (["build", "verify"], "")
    assert "--allowed-signers" in complete("dsops bundle verify --a", 3)[0]
