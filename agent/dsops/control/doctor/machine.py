"""Is the control host itself fit: its Python, and the programs that a deploy starts?"""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dsops.control.doctor.finding import Finding, ok, problem

WHERE = "control host"
PYTHON = (3, 11)
# What roles/ops relies on was measured on this one.
PYINFRA = "3.10.0"
PROGRAMS = {
    "ssh-keygen": "apt-get install openssh-client",
    "ssh-keyscan": "apt-get install openssh-client",
}


def find_pyinfra() -> Path | None:
    """The pyinfra that `dsops deploy` starts: the one beside this Python."""
    path = Path(sys.executable).with_name("pyinfra")
    return path if os.access(path, os.X_OK) else None


def find_version(package: str) -> str:
    """An installed distribution's version; empty when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True)
class Machine:
    """How the checks see this machine; tests give another one."""

    python: tuple[int, int] = sys.version_info[:2]
    find_program: Callable[[str], str | None] = shutil.which
    find_pyinfra: Callable[[], Path | None] = find_pyinfra
    find_version: Callable[[str], str] = find_version
    programs: Mapping[str, str] = field(default_factory=lambda: PROGRAMS)


def check_machine(machine: Machine) -> list[Finding]:
    """Python and programs of the control host."""
    return [check_python(machine), *check_programs(machine), check_pyinfra(machine)]


def check_python(machine: Machine) -> Finding:
    """Ours and the servers' are the same code."""
    said, wanted = (".".join(map(str, numbers)) for numbers in (machine.python, PYTHON))
    if machine.python >= PYTHON:
        return ok("python", WHERE, f"Python {said}")
    return problem("python", WHERE, f"Python {said} is older than {wanted}", mend=f"use Python {wanted} or later")


def check_programs(machine: Machine) -> list[Finding]:
    """Programs of the system that we start."""
    missing = [name for name in machine.programs if not machine.find_program(name)]
    if not missing:
        return [ok("programs", WHERE, ", ".join(machine.programs))]
    return [problem("programs", WHERE, f"{name} is not installed", mend=machine.programs[name]) for name in missing]


def check_pyinfra(machine: Machine) -> Finding:
    """The pinned version, beside our own Python."""
    mend = f"pip install 'dsops[control]' (pyinfra=={PYINFRA}) into the environment of this dsops"
    found = machine.find_version("pyinfra")
    if not found or machine.find_pyinfra() is None:
        return problem("pyinfra", WHERE, "pyinfra is not installed beside this dsops", mend=mend)
    if found != PYINFRA:
        return problem("pyinfra", WHERE, f"pyinfra {found} is not the one that the roles were tried on", mend=mend)
    return ok("pyinfra", WHERE, f"pyinfra {found}")
