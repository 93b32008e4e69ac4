"""The control host's own Python and programs."""

from pathlib import Path
from typing import Any

import pytest
from dsops.control.doctor.finding import Status
from dsops.control.doctor.machine import Machine, check_machine

GOOD: dict[str, Any] = {
    "python": (3, 11),
    "find_program": lambda name: f"/usr/bin/{name}",
    "find_pyinfra": lambda: Path("/venv/bin/pyinfra"),
    "find_version": lambda _: "3.10.0",
}


def test_a_good_one_is_ok() -> None:
    assert {f.status for f in check_machine(Machine(**GOOD))} == {Status.OK}


def test_this_one_is_ok() -> None:
    assert {f.status for f in check_machine(Machine())} == {Status.OK}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"python": (3, 10)}, "Python 3.10 is older than 3.11"),
        ({"find_version": lambda _: "3.9.0"}, "pyinfra 3.9.0 is not the one that the roles were tried on"),
        ({"find_version": lambda _: ""}, "pyinfra is not installed beside this dsops"),
        ({"find_pyinfra": lambda: None}, "pyinfra is not installed beside this dsops"),
    ],
)
def test_each_problem_is_said(change: dict[str, Any], what: str) -> None:
    (found,) = [f for f in check_machine(Machine(**{**GOOD, **change})) if f.status is Status.PROBLEM]
    assert found.what == what
    assert found.mend


def test_all_missing_programs_are_said_at_once() -> None:
    found = check_machine(Machine(**{**GOOD, "find_program": lambda _: None}))
    said = [f.what for f in found if f.status is Status.PROBLEM]
    assert said == ["ssh-keygen is not installed", "ssh-keyscan is not installed"]
