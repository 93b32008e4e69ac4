"""A node in maintenance is only looked at, whatever happens to it; what is wrong when it ends is acted upon then."""

from collections.abc import Callable

import pytest
from dsops.core.blame import Peer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node.agent.test_grounds import LOST, alarm
from tests.node.agent.test_incidents import ACTS, BAKED, play
from tests.node.agent.world import World

FANS = "maintenance until 2026-11-22 20:00 UTC by kim: fans"


def lose_a_gpu(world: World) -> None:
    alarm(world, LOST)


def kill(world: World) -> None:
    world.kill()


def spoil(world: World) -> None:
    world.modes["r2"] = world.engines["a"].mode = "wrong"


def hang(world: World) -> None:
    world.modes["r2"] = world.engines["a"].mode = "hung"


@pytest.mark.parametrize("harm", [lose_a_gpu, kill, spoil, hang])
def test_nothing_is_done_whatever_happens(harm: Callable[[World], None]) -> None:
    for world in (play(), play(**BAKED)):
        world.maintenance = FANS
        world.run(2.0)
        harm(world)
        world.run(300.0)
        assert world.did("eject", "admit", "breaker", *ACTS) == []
        assert world.watch.incident is None
        assert not world.watch.grounds.breaker.tripped


def test_without_it_the_same_harm_takes_the_traffic_away() -> None:
    for harm in (lose_a_gpu, kill, spoil, hang):
        world = play(**BAKED)
        harm(world)
        world.run(120.0)
        assert "eject" in world.did("eject"), harm


def test_what_is_wrong_when_it_ends_is_acted_upon_then() -> None:
    world = play(**BAKED)
    world.maintenance = FANS
    world.run(2.0)
    lose_a_gpu(world)
    world.run(60.0)
    world.maintenance = ""
    assert world.run_until("eject", within=10.0) > 0


def test_a_moment_of_it_costs_a_slot_that_is_well_no_traffic() -> None:
    world = play(**BAKED)
    for seconds in (1.5, 5.0, 300.0):
        world.maintenance = FANS
        world.run(seconds)
        world.maintenance = ""
        world.run(30.0)
    assert world.did("eject", *ACTS) == []


def test_what_was_away_before_stays_away_until_it_ends() -> None:
    world = play(**BAKED)
    lose_a_gpu(world)
    world.run_until("eject", within=1.0)
    world.run(10.0)
    world.maintenance = FANS
    world.run(5.0)
    world.findings = ()
    world.run(120.0)
    assert world.did("eject", "admit") == ["eject"]
    world.begin()  # the agent's next life knows it as well
    world.run(60.0)
    assert world.did("eject", "admit") == ["eject"]
    world.maintenance = ""
    world.run_until("admit", within=60.0)


def test_drained_and_in_maintenance_is_one_silence() -> None:
    world = play(**BAKED)
    world.drained, world.maintenance = "fan (ann)", FANS
    world.run(5.0)
    spoil(world)
    world.run(60.0)
    world.drained = ""
    world.run(60.0)
    assert world.did("eject", *ACTS) == []


@settings(max_examples=30)
@given(
    harms=st.lists(st.sampled_from([lose_a_gpu, kill, spoil, hang]), max_size=4),
    waits=st.lists(st.floats(0.5, 60.0), min_size=4, max_size=4),
    serves=st.booleans(),
)
def test_no_order_of_harm_leads_to_an_act(
    harms: list[Callable[[World], None]], waits: list[float], *, serves: bool
) -> None:
    world = World(state=BAKED["state"], peers=(Peer("gpu2", "r1", serves=serves),))
    world.maintenance = FANS
    world.run(5.0)
    for harm, seconds in zip(harms, waits, strict=False):
        harm(world)
        world.run(seconds)
    assert world.did("eject", "admit", "breaker", *ACTS) == []
