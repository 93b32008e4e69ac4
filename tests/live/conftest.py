"""The live tests' fixtures."""

import os
import ssl
from collections.abc import Iterator

import pytest

from tests.live.site import SECRETS, Service, restore


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
