"""The metal tests' fixture: a guest that was made anew, so that every run begins with a fresh OS."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.metal.machine import SECONDS, Machine, dsops


@pytest.fixture(scope="session")
def metal1() -> Iterator[Machine]:
    """A fresh machine, booted. `bin/test` made bundle and keys; a run by hand needs `bin/demo` first."""
    if os.geteuid() != 0 or not shutil.which("qemu-system-x86_64"):
        pytest.skip("needs root and qemu: bin/test installs it")
    machine = Machine("metal1")
    machine.renew()
    yield machine
    dsops("lab", "fault", "metal1", "poweroff")


@pytest.fixture(scope="session")
def saved(metal1: Machine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disks of a machine on which only the base role was run."""
    folder = tmp_path_factory.mktemp("disks")
    metal1.renew()
    metal1.deploy_first("base")
    metal1.save(folder)
    return folder


@pytest.fixture
def based(metal1: Machine, saved: Path) -> Machine:
    """The machine as the base role left it, nothing else done."""
    metal1.restore(saved)
    return metal1


@pytest.fixture
def fresh(metal1: Machine) -> Machine:
    """The same machine with fresh disks."""
    metal1.renew()
    return metal1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each step took, on this machine."""
    if SECONDS:
        terminalreporter.section("seconds on a machine in qemu", sep="-")
        for what, seconds in SECONDS.items():
            terminalreporter.write_line(f"{seconds:6.0f}  {what}")
