"""A store, and releases for it."""

from pathlib import Path

import pytest

from tests.node.store.bed import Bed, Made, Signer, make_release, make_root, make_signer


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return make_signer(tmp_path_factory.mktemp("signer"))


@pytest.fixture
def bed(tmp_path: Path, signer: Signer) -> Bed:
    return Bed(make_root(tmp_path / "store"), signer)


@pytest.fixture(scope="session")
def pair(signer: Signer) -> tuple[Made, Made]:
    """Two signed releases with most of their content in common."""
    return signer.sign(make_release("one")), signer.sign(make_release("two"))
