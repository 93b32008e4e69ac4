"""The completion scripts: each shell's own, and bash takes it."""

import shutil
import subprocess

import pytest
from click.testing import CliRunner
from dsops.main import cli

SIGNS = {"bash": "complete -o nosort -F", "zsh": "#compdef dsops", "fish": "complete --no-files --command dsops"}


def script(shell: str) -> str:
    result = CliRunner().invoke(cli, ["completion", shell], prog_name="dsops")
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("shell", SIGNS)
def test_every_shell_gets_its_own_script(shell: str) -> None:
    text = script(shell)
    assert SIGNS[shell] in text
    assert f"_DSOPS_COMPLETE={shell}_complete" in text


@pytest.mark.parametrize("shell", SIGNS)
def test_the_shell_itself_can_read_it(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n"], input=script(shell), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_shell_is_refused_with_those_that_there_are() -> None:
    result = CliRunner().invoke(cli, ["completion", "csh"])
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.output
