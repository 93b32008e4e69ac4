"""The verbs of `dsops lab` as they are typed."""

import re
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from dsops.core.errors import DsopsError
from dsops.lab.cli import lab
from dsops.lab.faults import FAULTS, check_words, fault
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


def test_the_help_of_fault_lists_each_with_what_stands_behind_it() -> None:
    shown = CliRunner().invoke(lab, ["fault", "--help"]).output
    for name, one in FAULTS.items():
        assert f"{name} {one.words}".rstrip() in shown
        assert one.says in shown
    assert len(FAULTS) > 30


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["xid"], "`dsops lab fault NODE xid NUMBER...`"),
        (["cards"], "`dsops lab fault NODE cards PROFILE [COUNT]`"),
        (["cards", "t4", "2", "3"], "`dsops lab fault NODE cards PROFILE [COUNT]`"),
        (["kill", "now"], "`dsops lab fault NODE kill`"),
        (["gpu-error", "3", "nvmlDeviceGetName", "too"], "`dsops lab fault NODE gpu-error [CODE] [CALL]`"),
    ],
)
def test_too_few_or_too_many_words_are_refused_with_the_usage(words: list[str], usage: str) -> None:
    with pytest.raises(DsopsError) as caught:
        fault(LAB, "gpu1", words[0], words=words[1:])
    assert caught.value.mend == usage


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("xid", ["79"]),
        ("xid", ["79", "48", "63"]),
        ("cards", ["t4"]),
        ("partition", []),
        ("partition", ["lb1", "gpu2"]),
    ],
)
def test_as_many_words_as_a_fault_takes_are_taken(kind: str, words: list[str]) -> None:
    check_words(kind, words)


def test_a_server_that_is_off_cannot_be_broken(tmp_path: Path) -> None:
    nowhere = replace(LAB, root=tmp_path, bridge="dsopsno0")
    for kind in ("mend", "gpu-lost", "disk-full"):
        with pytest.raises(DsopsError, match="gpu1 is off"):
            fault(nowhere, "gpu1", kind)


def test_a_step_is_shown_with_its_seconds_and_its_note() -> None:
    lines: list[str] = []
    with step(Lines(lines.append), "base") as notes:
        time.sleep(0.06)
        notes.append("unchanged")
    (line,) = lines
    shown = re.fullmatch(r"  base +(\d+\.\d) s  unchanged", line)
    assert shown, line
    assert float(shown[1]) >= 0.1


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
