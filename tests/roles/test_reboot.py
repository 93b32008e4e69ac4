"""A reboot is asked for while what is wanted is not live, and no longer."""

import shlex
import subprocess
from pathlib import Path

import pytest

from roles.ops.reboot import RebootState


@pytest.mark.parametrize(("live", "word"), [("true", True), ("false", False)])
def test_what_is_live_is_asked_of_the_server(tmp_path: Path, live: str, word: bool) -> None:
    (tmp_path / "system").write_text("kernel options\n")
    command = RebootState().command(role="system", live=live).replace("/run/dsops-reboot", shlex.quote(str(tmp_path)))
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.splitlines()
    assert RebootState().process(said) == (word, "kernel options")


def test_a_server_that_says_nothing_is_left_alone() -> None:
    assert RebootState.default() == (True, "")
