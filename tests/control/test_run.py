"""The door to programs: what failed can be pasted, nothing hangs, and no word of a program breaks it."""

import sys
import time
from pathlib import Path

import pytest
from dsops.control.run import ExitError, run
from dsops.core.errors import DsopsError


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_output_comes_back_and_the_errors_do_not() -> None:
    assert run(["sh", "-c", "echo out; echo err >&2"]) == "out\n"


def test_a_failure_shows_the_command_as_one_can_paste_it_and_what_it_said() -> None:
    with pytest.raises(ExitError) as caught:
        run(["sh", "-c", "echo it is broken >&2; exit 3"], mend="mend it")
    assert caught.value.what == "exit 3: sh -c 'echo it is broken >&2; exit 3'\nit is broken"
    assert caught.value.mend == "mend it"


def test_what_went_to_the_output_is_shown_when_nothing_went_to_the_errors() -> None:
    with pytest.raises(DsopsError, match="only here"):
        run(["sh", "-c", "echo only here; echo >&2; exit 1"])


def test_a_long_story_keeps_its_end() -> None:
    with pytest.raises(DsopsError) as caught:
        run(python("print('x' * 9000 + 'the end'); raise SystemExit(1)"))
    assert caught.value.what.endswith("the end")
    assert len(caught.value.what) < 2500


def test_a_missing_program_and_a_missing_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="no-such-program is not installed") as caught:
        run(["no-such-program"])
    assert caught.value.mend == "install no-such-program"
    with pytest.raises(DsopsError, match="no such folder"):
        run(["true"], cwd=tmp_path / "nowhere")


def test_a_file_that_is_no_program_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(DsopsError, match="cannot be started"):
        run([tmp_path / "x"])


def test_it_ends_in_time() -> None:
    start = time.monotonic()
    with pytest.raises(DsopsError, match=r"no end after 0.2 s: sleep 60"):
        run(["sleep", "60"], timeout=0.2)
    assert time.monotonic() - start < 5


def test_nobody_is_asked() -> None:
    assert run(["cat"]) == ""


def test_input_goes_in_as_it_is() -> None:
    assert run(["od", "-An", "-c"], input="a\r\n").split() == ["a", "\\r", "\\n"]
    assert run(["od", "-An", "-tx1"], input=b"\xff\x00").split() == ["ff", "00"]


def test_output_that_is_no_text_comes_back_as_names_of_files_do() -> None:
    assert run(["printf", "\\377a"]) == "\udcffa"
    with pytest.raises(DsopsError) as caught:
        run(["sh", "-c", "printf '\\377'; exit 1"])
    assert caught.value.what.encode()


def test_the_environment_is_added_to() -> None:
    assert run(["sh", "-c", 'echo "$DSOPS_TEST $HOME"'], env={"DSOPS_TEST": "x", "HOME": "/h"}) == "x /h\n"
    assert run(["sh", "-c", 'echo "${PATH:+there}"'], env={"DSOPS_TEST": "x"}) == "there\n"
