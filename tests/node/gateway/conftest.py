"""One gateway for all the tests that leave it as it was, and one for each test that does not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.node.gateway.bed import Bed

PATIENT: dict[str, Any] = {
    "first_token_timeout": 20,
    "token_timeout": 20,
    "deadline": 60,
    "drain_linger": 0.3,
    "shutdown_grace": 2,
    "body_timeout": 20,
    "max_body": 20000,
}
# For tests of these limits alone: a busy machine reaches them by itself.
HASTY = PATIENT | {"first_token_timeout": 2, "token_timeout": 0.5, "deadline": 5, "body_timeout": 0.5}


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    bed = Bed(tmp_path_factory.mktemp("gateway"), **PATIENT)
    yield bed
    bed.close()


@pytest.fixture(scope="package")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """A shared one that gives up soon."""
    bed = Bed(tmp_path_factory.mktemp("hasty"), **HASTY)
    yield bed
    bed.close()


@pytest.fixture
def make_bed(tmp_path: Path) -> Iterator[Callable[..., Bed]]:
    """A gateway of the test's own; arguments are lines of gateway.toml."""
    beds: list[Bed] = []

    def make(**config: Any) -> Bed:
        beds.append(Bed(tmp_path, **{**PATIENT, **config}))
        return beds[-1]

    yield make
    for bed in beds:
        bed.close()
