"""What the agent sees of a store's releases without reading them."""

from pathlib import Path

import pytest
from dsops.core.state import Active, NodeState, Stage
from dsops.node.sources.damage import AGAIN_SECONDS, DamageReader

from tests.node.store.bed import Bed, Made, Signer, make_release, make_root, make_signer


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(make_root(tmp_path / "store"), make_signer(tmp_path))


def sign(signer: Signer, name: str) -> Made:
    return signer.sign(make_release(name))


def test_what_is_needed_is_looked_at_once_a_minute_and_what_lies_cold_is_not_damaged(bed: Bed) -> None:
    one, two, other = (sign(bed.signer, name) for name in ("one", "two", "other"))
    for made in (one, two, other):
        bed.push(made)
    left = (Active(one.id, "b", 0.0, Stage.KNOWN_GOOD), Active("r0123456789ab", "b", 0.0, Stage.KNOWN_GOOD))
    state = NodeState(active=Active(two.id, "a", 0.0, Stage.BAKED), fallbacks=left)
    now = [0.0]
    reader = DamageReader(bed.root, clock=lambda: now[0])
    assert reader.read(state) == {}
    for made in (one, other):
        (bed.root / "releases" / made.id / "models/llm/1/weights.bin").unlink()
    assert reader.read(state) == {}
    now[0] += AGAIN_SECONDS
    found = reader.read(state)
    assert list(found) == [one.id]
    assert "weights.bin is not as the manifest says" in found[one.id]
    assert reader.read(NodeState(active=state.active)) == {}  # another question is answered at once
    assert reader.read(None) == {}
