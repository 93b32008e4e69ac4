"""A check takes its server out of traffic before a request fails, where enough others serve; whole incidents."""

from dataclasses import replace

import pytest
from dsops.core.blame import Peer
from dsops.core.breaker import BUDGET, WEEK, Breaker
from dsops.core.status import Blame, Condition, Finding, Measure, Verdict
from dsops.node.agent.events import Alarmed
from dsops.node.agent.settings import Settings
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node.agent.test_incidents import ACTS, BAKED, play
from tests.node.agent.world import PEERS, WALL, World

LOST = Finding(
    "gpu3", "xid.79", Verdict.BAD, Blame.HARDWARE, Condition.FAILED, "it left the bus", "reboot", Measure.REBOOT
)


def alarm(world: World, *findings: Finding) -> None:
    """The kernel says it between two ticks; the ticks after that see it too."""
    world.findings = findings
    world.at(world.now, lambda: Alarmed(world.clock(), findings))


def test_a_gpu_that_left_the_bus_takes_traffic_with_it_before_anything_fails() -> None:
    world = play(**BAKED)
    alarm(world, LOST)
    assert world.run_until("eject", within=1.0) <= 0.25
    world.run(300.0)
    assert world.did("eject", "admit", *ACTS) == ["eject"]
    story = world.stories[-1].to_decision()
    assert (story.blame, story.ended) == (Blame.HARDWARE, None)
    assert "it left the bus" in story.blame_says
    assert world.watch.grounds.describe("gpu1") == ()


def test_it_comes_back_when_that_is_mended_and_it_answers_right() -> None:
    world = play(**BAKED)
    alarm(world, LOST)
    world.run_until("eject", within=1.0)
    world.run(60.0)
    world.findings = ()
    assert world.run_until("admit", within=60.0) > 0
    world.run(60.0)
    assert world.did("eject", "admit", *ACTS) == ["eject", "admit"]
    assert world.watch.incident is None


@pytest.mark.parametrize(
    "finding",
    [
        replace(LOST, measure=Measure.ALERT),
        replace(LOST, measure=Measure.NONE),
        replace(LOST, measure=Measure.RESTART),
        replace(LOST, status=Verdict.UNKNOWN),
        replace(LOST, status=Verdict.UNKNOWN, condition=Condition.BLIND),
    ],
    ids=lambda one: f"{one.status} {one.measure}",
)
def test_less_than_that_and_what_nobody_could_read_takes_no_traffic(finding: Finding) -> None:
    world = play(**BAKED)
    alarm(world, finding)
    world.run(300.0)
    assert world.did("eject", *ACTS) == []


@pytest.mark.parametrize("peers", [(), tuple(replace(peer, serves=False) for peer in PEERS)], ids=["alone", "last"])
def test_the_last_one_stays_and_says_so_until_a_person_looked(peers: tuple[Peer, ...]) -> None:
    world = play(peers=peers, **BAKED)
    alarm(world, LOST)
    world.run(60.0)
    assert world.did("eject", *ACTS) == []
    [finding] = world.watch.grounds.describe("gpu1")
    assert (finding.code, finding.measure) == ("node.breaker", Measure.ALERT)
    assert "no other server would be left to serve, and 1 must" in finding.reason
    # Others are well again, or there is one more by now: still a person says when.
    world.peers = PEERS
    world.run(60.0)
    assert world.did("eject") == []
    world.watch.grounds.reset()
    if peers:
        world.run_until("eject", within=10.0)


def test_one_ask_that_nobody_answered_trips_no_breaker_and_a_second_does() -> None:
    """An agent that was held for a second loses all its peers' answers at once."""
    for silent, did in ((1, ["eject"]), (99, [])):
        world = play(**BAKED)
        world.silent = silent
        alarm(world, LOST)
        world.run(10.0)
        assert world.did("eject") == did
        assert bool(world.watch.grounds.breaker.tripped) == (not did)


def test_one_ask_that_nobody_answered_brings_no_server_back() -> None:
    world = play(**BAKED)
    alarm(world, LOST)
    world.run_until("eject", within=1.0)
    world.silent = 1
    world.run(60.0)
    assert world.silent == 0
    assert world.did("eject", "admit") == ["eject"]
    assert not world.watch.grounds.breaker.tripped


def test_one_ask_that_nobody_answered_hides_no_failure_that_all_nodes_have() -> None:
    world = play(**BAKED)
    world.peers = tuple(replace(peer, serves=False, fails=True) for peer in PEERS)
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    while world.watch.verdict is not Verdict.BAD:
        world.run(0.05)
    world.run(1.9)  # the next ask is the one by which it decides
    world.silent = 1
    world.run(60.0)
    assert world.silent == 0
    assert world.did(*ACTS) == []
    assert world.stories[-1].to_decision().blame is Blame.ENVIRONMENT


def test_so_many_as_the_site_says_must_be_left() -> None:
    world = play(settings=Settings("gpu1", hold_seconds=0.0, keep_serving=3), **BAKED)
    alarm(world, LOST)
    world.run(60.0)
    assert world.did("eject") == []
    assert "2 other servers would be left to serve, and 3 must" in world.watch.grounds.breaker.tripped


def test_when_all_leave_in_the_same_moment_they_come_back() -> None:
    """Each saw the others serve, so each left: one driver's fault on all of them. Doubtful hardware beats none."""
    world = play(**BAKED)
    alarm(world, LOST)
    world.run_until("eject", within=1.0)
    world.peers = tuple(replace(peer, serves=False) for peer in PEERS)
    assert world.run_until("admit", within=15.0) < 8.0
    world.run(300.0)
    assert world.did("eject", "admit", *ACTS) == ["eject", "admit"]
    assert "too few others serve" in world.watch.grounds.breaker.tripped


def test_when_all_left_but_its_engine_is_dead_it_does_not_come_back() -> None:
    world = play(**BAKED)
    world.modes["r2"] = world.engines["a"].mode = "hung"
    alarm(world, LOST)
    world.run_until("eject", within=1.0)
    world.peers = tuple(replace(peer, serves=False) for peer in PEERS)
    world.run(120.0)
    assert world.did("admit") == []


def test_a_drained_server_is_left_alone() -> None:
    world = play(**BAKED)
    world.drained = "kim changes a card"
    world.run(5.0)
    alarm(world, LOST)
    world.run(60.0)
    assert world.did("eject") == []


def test_its_engine_dies_too_and_nobody_blames_the_release() -> None:
    world = play()  # on trial
    alarm(world, LOST)
    world.modes["r2"] = world.engines["a"].mode = "hung"
    world.run(300.0)
    assert "rollback" not in world.did(*ACTS)
    assert world.stories[-1].to_decision().blame is Blame.HARDWARE


def test_an_engine_that_is_back_is_kept_out_of_traffic_by_the_gpu_that_is_gone() -> None:
    """It left for its engine's death; the finding that came meanwhile lets no request in between."""
    world = play(**BAKED)
    world.kill()
    world.run_until("eject", within=1.0)
    alarm(world, LOST)
    world.run(120.0)
    assert world.did("eject", "admit") == ["eject"]
    assert world.stories[-1].to_decision().blame is Blame.HARDWARE
    world.findings = ()
    assert world.run_until("admit", within=60.0) > 0


def test_an_engine_that_is_back_gets_traffic_where_nobody_else_would_serve() -> None:
    world = play(**BAKED)
    world.kill()
    world.run_until("eject", within=1.0)
    world.peers = tuple(replace(peer, serves=False) for peer in PEERS)
    alarm(world, LOST)
    assert world.run_until("admit", within=60.0) > 0
    assert world.watch.grounds.breaker.tripped


def test_a_memory_error_that_was_contained_is_worth_a_restart_and_no_rollback() -> None:
    contained = replace(LOST, code="xid.94", measure=Measure.RESTART, reason="contained memory error")
    world = play()
    world.findings = (contained,)
    world.modes["r2"] = "right"  # a fresh process is well
    world.engines["a"].mode = "hung"
    world.run(120.0)
    assert world.did(*ACTS) == ["restart slot"]
    still = play()
    still.findings = (contained,)
    still.modes["r2"] = still.engines["a"].mode = "hung"
    still.run(300.0)
    assert still.did(*ACTS) == ["restart slot"]


def test_what_is_wrong_all_the_time_excuses_no_release() -> None:
    worn = replace(LOST, code="gpu.inforom", measure=Measure.ALERT, reason="worn", excuses=False)
    world = play()
    world.findings = (worn,)
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run_until("rollback", within=60.0)


def test_five_times_within_a_week_is_enough() -> None:
    breaker = Breaker()
    for number in range(BUDGET):
        assert not breaker.refuse(serving=2, keep=1, at=WALL + number)
        breaker = breaker.take(WALL + number)
    assert f"{BUDGET} times within a week" in breaker.refuse(serving=2, keep=1, at=WALL + 100)
    assert not breaker.refuse(serving=2, keep=1, at=WALL + WEEK + 100)


# --- whatever comes ----------------------------------------------------------------------------------------------

FINDINGS = st.builds(
    lambda blame, measure, status, excuses: replace(LOST, blame=blame, measure=measure, status=status, excuses=excuses),
    st.sampled_from(Blame),
    st.sampled_from(Measure),
    st.sampled_from(Verdict),
    st.booleans(),
)


@settings(max_examples=40)
@given(findings=st.lists(FINDINGS, max_size=5), mode=st.sampled_from(["wrong", "hung"]), fresh=st.booleans())
def test_with_evidence_of_hardware_no_order_of_findings_leads_to_a_rollback(
    findings: list[Finding], mode: str, *, fresh: bool
) -> None:
    world = World() if fresh else World(state=BAKED["state"])
    world.run(20.0)
    world.findings = (*findings, replace(LOST, measure=Measure.RESET))
    world.modes["r2"] = world.engines["a"].mode = mode
    world.run(90.0)
    assert "rollback" not in world.did(*ACTS)


@settings(max_examples=40)
@given(findings=st.lists(FINDINGS, max_size=5))
def test_what_cannot_be_read_takes_no_traffic_whatever_it_is(findings: list[Finding]) -> None:
    world = World(state=BAKED["state"])
    world.run(20.0)
    world.findings = tuple(replace(one, status=Verdict.UNKNOWN) for one in findings)
    world.run(60.0)
    assert world.did("eject", *ACTS) == []


@settings(max_examples=40)
@given(waits=st.lists(st.floats(1.0, 4000.0), max_size=30))
def test_however_a_finding_flaps_it_takes_the_server_out_only_so_often(waits: list[float]) -> None:
    world = World(state=BAKED["state"])
    world.run(20.0)
    for number, seconds in enumerate(waits):
        world.findings = (LOST,) if number % 2 == 0 else ()
        world.run(min(seconds, 120.0))
    assert len(world.did("eject")) <= BUDGET
