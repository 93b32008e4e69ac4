"""The live tests' fixtures, and the table of what came when at the end of a run."""

import os
import ssl
from collections.abc import Iterator

import pytest

from tests.live.moves import Shelf
from tests.live.rollouts import forgive
from tests.live.site import CLOSE, SECRETS, Service, restore
from tests.live.watch import CASES, render_cases


@pytest.fixture(scope="session")
def service() -> Service:
    """The lab's service. `bin/test` brought it up; a run by hand needs `bin/demo` first."""
    if os.geteuid() != 0 or not (SECRETS / "ca.pem").exists():
        pytest.skip("the lab is not up: bin/demo")
    context = ssl.create_default_context(cafile=str(SECRETS / "ca.pem"))
    return Service((SECRETS / "operators-api-key").read_text().strip(), context)


@pytest.fixture
def fleet(service: Service) -> Iterator[Service]:
    """The service with every server well, before and after a test that breaks some."""
    restore()
    yield service
    restore()


@pytest.fixture
def quiet(service: Service) -> Iterator[None]:
    """No rollout, no halt, nothing banned; and every node with the good release afterwards."""
    restore()
    forgive()
    yield
    forgive()
    restore()


@pytest.fixture(scope="session")
def shelf(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Releases that were made to fail."""
    return Shelf(tmp_path_factory.mktemp("ills"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What came when, case by case; and what nearly came too late."""
    if CASES:
        failed = {one.nodeid for kind in ("failed", "error") for one in terminalreporter.stats.get(kind, [])}
        terminalreporter.section("drills, in seconds from the onset of each fault", sep="-")
        for line in render_cases(failed):
            terminalreporter.write_line(line)
    if CLOSE:
        terminalreporter.section("waits that took more than half of what they may", sep="-")
        for line in CLOSE:
            terminalreporter.write_line(line)
