"""The verbs of `dsops lab` as they are typed."""

import time
from io import StringIO

import pytest
from click.testing import CliRunner
from dsops.core.errors import DsopsError
from dsops.lab.cli import lab
from dsops.lab.faults import fault
from dsops.lab.place import LAB
from dsops.lab.progress import Bars, Lines, get_show, step
from rich.console import Console


def test_the_verbs_are_there() -> None:
    result = CliRunner().invoke(lab, ["--help"])
    assert result.exit_code == 0
    for verb in ("up", "down", "status", "fault"):
        assert verb in result.output


@pytest.mark.parametrize("argv", [["fault", "gpu9", "kill"], ["fault", "gpu1", "explode"], ["up", "--fast"]])
def test_a_wrong_word_is_refused_with_the_right_ones(argv: list[str]) -> None:
    result = CliRunner().invoke(lab, argv)
    assert result.exit_code == 2
    assert "gpu1" in result.output or "No such option" in result.output


def test_an_unknown_server_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DsopsError, match="no server 'gpu9'") as caught:
        fault(LAB, "gpu9", "kill")
    assert "lb1, gpu1, gpu2, gpu3, mon1" in caught.value.mend


def test_a_step_is_shown_with_its_seconds_and_its_note() -> None:
    lines: list[str] = []
    with step(Lines(lines.append), "base") as notes:
        time.sleep(0.06)
        notes.append("unchanged")
    assert lines == ["  base         0.1 s  unchanged"]


def test_a_failed_step_is_shown_as_failed() -> None:
    lines: list[str] = []
    with pytest.raises(DsopsError), step(Lines(lines.append), "base"):
        raise DsopsError("no")
    assert lines[0].endswith("failed")


def test_a_terminal_gets_bars_and_a_pipe_gets_lines() -> None:
    assert isinstance(get_show(Console(file=StringIO())), Lines)
    out = StringIO()
    bars = get_show(Console(file=out, force_terminal=True))
    assert isinstance(bars, Bars)
    with step(bars, "one"), step(bars, "two"):
        pass
    assert "one" in out.getvalue()
    assert "two" in out.getvalue()
