"""An order to go back is about one release: whatever comes twice, or late, takes no other away."""

import pytest
from dsops.core.errors import DsopsError
from dsops.core.events import Activate, Done, Event, Proven, Rollback
from dsops.core.node import step
from dsops.core.state import WAITS, Active, Held, NodeState, Policy, Stage

OLDER, OLD, NEW = "r00", "r0", "r1"


def tell(state: NodeState, event: Event) -> NodeState:
    """The event, and all that follows at once."""
    state, _ = step(state, event, Policy())
    while state.move and state.move.step not in WAITS:
        state, _ = step(state, Done(10.0), Policy())
    return state


def go_back(*, leaves: str) -> Rollback:
    return Rollback(20.0, "rollout", "it fails", own=False, lasting=False, leaves=leaves)


@pytest.fixture
def serving() -> NodeState:
    """Two releases that were good, and a new one that has a share."""
    good = [Active(name, slot, 0.0, Stage.KNOWN_GOOD) for name, slot in ((OLD, "a"), (OLDER, "b"))]
    state = NodeState(slots=(Held("a", OLD), Held("b")), active=good[0], fallbacks=(good[1],))
    return tell(tell(state, Activate(NEW, 5.0, "ann", "newer", share=5)), Proven(6.0))


def test_the_second_order_leaves_the_good_one_alone(serving: NodeState) -> None:
    assert serving.canary
    after = tell(serving, go_back(leaves=NEW))
    assert (after.canary, after.active and after.active.release) == (None, OLD)
    with pytest.raises(DsopsError, match="r1 is not what this node would leave now: r0 is"):
        tell(after, go_back(leaves=NEW))
    # Without a name it means whatever would go, as a person at the console wants it.
    assert tell(after, go_back(leaves="")).move


def test_a_release_with_all_the_traffic_is_left_by_name(serving: NodeState) -> None:
    with pytest.raises(DsopsError, match="r0 is not what this node would leave now: r1 is"):
        tell(serving, go_back(leaves=OLD))


def test_on_an_empty_node_there_is_nothing_to_leave() -> None:
    with pytest.raises(DsopsError, match="r1 is not what this node would leave now: nothing is"):
        tell(NodeState(), go_back(leaves=NEW))
