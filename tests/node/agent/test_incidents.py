"""Whole incidents, second by second: what the agent sees, does, and leaves alone."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from dsops.core.blame import Peer
from dsops.core.events import Activate
from dsops.core.state import NodeState, Stage
from dsops.core.status import Blame, Condition, Finding, Verdict
from dsops.node.agent.events import Call, Event, HelperTold
from dsops.node.agent.settings import Settings
from dsops.node.agent.watch import Restarts
from dsops.node.sources.gateway import Ejected

from tests.node.agent.world import PEERS, WALL, World, make_state

BAKED = {"state": make_state(stage=Stage.KNOWN_GOOD)}
ACTS = ("restart", "rollback", "halt")


def play(**changes: Any) -> World:
    """A node that is well for half a minute."""
    world = World(**changes)
    world.run(31.0)
    assert world.did("eject", *ACTS) == []
    assert world.watch.verdict is Verdict.OK
    return world


def test_a_node_that_is_well_is_left_alone_for_an_hour() -> None:
    world = play(**BAKED)
    world.run(3600.0)
    assert [told for _, told in world.log] == ["rehash"]
    assert world.watch.incident is None
    assert world.watch.counters.probes[("slot", "OK")] == pytest.approx(3631 / 15, abs=3)


def test_a_release_on_trial_is_asked_three_times_as_often() -> None:
    world = play()
    world.run(300.0)
    assert world.watch.counters.probes[("slot", "OK")] == pytest.approx(331 / 5, abs=3)


def test_an_idle_node_is_well_too() -> None:
    world = play(load=False)
    world.run(600.0)
    assert world.did("eject", *ACTS) == []


def test_a_kill_takes_traffic_away_within_50_ms_and_brings_it_back() -> None:
    world = play()
    world.kill()
    assert world.run_until("eject", within=1.0) <= 0.06
    assert world.run_until("admit", within=15.0) < 10.0
    world.run(60.0)
    assert world.did(*ACTS) == []
    story = world.stories[-1]
    assert story.outcome.startswith("it came back by itself")
    assert "signal 9" in " ".join(moment.says for moment in story.moments)


def test_one_kill_is_one_strike() -> None:
    world = play()
    world.kill()
    world.run(1.9)
    assert world.watch.strikes.count == 1


def test_a_crash_loop_in_bake_is_rolled_back() -> None:
    world = play()
    for _ in range(3):
        world.kill(status=11)
        world.run(4.0)
    world.run(10.0)
    assert world.did("rollback", "lanes") == ["lanes b", "rollback"]
    assert world.did("admit")
    assert world.ejected is None
    bad = world.state.find_bad("r2", at=WALL)
    assert bad is not None
    assert bad.until is None


def test_a_crash_loop_after_bake_is_rolled_back_too_and_its_mark_expires() -> None:
    world = play(**BAKED)
    for _ in range(3):
        world.kill(status=11)
        world.run(4.0)
    world.run(10.0)
    assert world.did("rollback") == ["rollback"]
    assert world.state.bad[0].until is not None


def test_wrong_answers_in_bake_are_rolled_back_and_the_story_says_why() -> None:
    world = play()
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    took = world.run_until("rollback", within=40.0)
    assert took < 15 + 10
    world.run(10.0)
    assert world.did("eject", "lanes", "admit", *ACTS) == ["eject", "lanes b", "rollback", "admit"]
    story = world.stories[-1].to_decision()
    assert (story.blame, story.action) == (Blame.RELEASE, "rollback")
    assert story.outcome.startswith("rolled back: r1 serves")
    assert any("hardware" in one for one in story.excludes)
    assert story.ended is not None


def test_wrong_answers_after_bake_are_restarted_once_and_then_rolled_back() -> None:
    world = play(**BAKED)
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run(90.0)
    assert world.did(*ACTS) == ["restart slot", "rollback"]
    assert world.state.active is not None
    assert world.state.active.release == "r1"


def test_nodes_that_fail_in_the_same_second_see_it_before_any_of_them_acts() -> None:
    # Each reaches its verdict while the others' statuses still say one strike; a second later they say more.
    world = play(**BAKED)
    world.modes["r2"] = world.engines["a"].mode = "hung"
    while world.watch.verdict is not Verdict.BAD:
        world.run(0.05)
    assert world.did(*ACTS) == []
    world.peers = tuple(replace(peer, serves=False, fails=True) for peer in world.peers)
    world.run(5.0)
    assert world.stories[-1].to_decision().blame is Blame.ENVIRONMENT
    assert "rollback" not in world.did(*ACTS)


def test_wrong_answers_that_a_restart_mends_cost_a_restart() -> None:
    world = play(**BAKED)
    world.engines["a"].mode = "wrong"
    world.run(120.0)
    assert world.did(*ACTS) == ["restart slot"]
    assert world.ejected is None
    assert world.stories[-1].outcome.startswith("restarted; it serves again")


def test_a_hang_under_load_is_out_of_traffic_within_10_s() -> None:
    world = play()
    world.engines["a"].mode = "hung"
    assert world.run_until("eject", within=20.0) <= 10.0
    assert world.run_until("rollback", within=20.0) <= 15.0


@pytest.mark.parametrize("mode", ["hung", "stopped", "stall"])
def test_an_idle_hang_is_out_of_traffic_within_a_minute(mode: str) -> None:
    world = play(load=False)
    world.engines["a"].mode = mode
    assert world.run_until("eject", within=90.0) <= 60.0


def test_a_slow_engine_that_makes_progress_is_left_alone() -> None:
    world = play(**BAKED)
    world.engines["a"].mode = "slow"
    world.run(600.0)
    assert world.did("eject", *ACTS) == []
    assert world.watch.verdict is not Verdict.BAD


def test_a_jump_of_the_clock_changes_nothing() -> None:
    world = play(**BAKED)
    world.skew = 86400.0 * 30
    world.run(60.0)
    world.skew = -3600.0
    world.run(600.0)
    assert world.did("eject", *ACTS) == []
    assert world.did("age") == []


def test_a_jump_does_not_end_the_bake_window() -> None:
    world = play()
    world.skew = 86400.0 * 30
    world.run(60.0)
    assert world.state.active is not None
    assert world.state.active.stage is Stage.BAKING


def test_a_wedged_gateway_is_restarted_and_the_release_stays() -> None:
    world = play(**BAKED)
    world.gateway_is_wedged = True
    world.run(60.0)
    assert world.did(*ACTS) == ["restart gateway"]
    assert world.stories[-1].to_decision().blame is Blame.DSOPS
    world.run(60.0)
    assert world.ejected is None


def test_the_same_failure_on_all_nodes_is_no_releases_fault() -> None:
    failing = tuple(replace(peer, serves=False, fails=True) for peer in PEERS)
    world = play(**BAKED)
    world.peers = failing
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run(300.0)
    assert world.did("eject", *ACTS) == []
    story = world.stories[-1].to_decision()
    assert story.blame is Blame.ENVIRONMENT
    assert "gpu2" in story.blame_says


def test_a_rollback_in_the_pool_within_the_hour_is_no_coincidence() -> None:
    world = play(**BAKED)
    world.peers = (Peer("gpu2", "r1", serves=True, last_rollback_at=WALL),)
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run(300.0)
    assert world.did(*ACTS) == ["restart slot"]
    assert world.stories[-1].to_decision().blame is Blame.ENVIRONMENT


def test_a_broken_gpu_never_rolls_a_release_back() -> None:
    finding = Finding("gpu0", "gpu.lost", Verdict.BAD, Blame.HARDWARE, Condition.FAILED, "GPU 0 is lost", "reboot")
    world = play()
    world.findings = (finding,)
    world.engines["a"].mode = "hung"
    world.run(120.0)
    assert world.did("eject", *ACTS) == ["eject"]
    assert world.stories[-1].to_decision().blame is Blame.HARDWARE


def test_alone_a_wrong_node_stays_in_traffic() -> None:
    world = play(peers=())
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run_until("rollback", within=60.0)
    assert world.did("eject") == []


def test_nothing_to_go_back_to_is_halted_and_told() -> None:
    world = play(state=replace(make_state(warm=False), fallbacks=()))
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run(120.0)
    assert world.did("restart", "rollback") == ["restart slot"]
    assert "there is nothing to go back to" in world.state.halted


def test_the_budget_of_rollbacks_ends_in_a_halt() -> None:
    world = play(state=replace(make_state(), rollbacks=(WALL - 50.0, WALL - 40.0)))
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run(120.0)
    assert world.did("rollback", "restart") == []
    assert "no rollback is left" in world.state.halted


def test_a_drained_node_is_only_looked_at() -> None:
    world = play()
    world.drained = "fan (ann)"
    world.run(2.0)
    world.kill()
    world.run(1.0)
    world.engines["a"].mode = "wrong"
    world.run(120.0)
    assert world.did("eject", *ACTS) == []
    assert world.watch.incident is None
    world.drained = ""
    world.engines["a"].mode = "right"
    world.run(60.0)
    assert world.did("eject", *ACTS) == []


@pytest.mark.parametrize("mode", ["wrong", "hung", "slow", "stopped"])
def test_an_undrained_slot_that_has_not_answered_right_gets_traffic_once_it_does(mode: str) -> None:
    # As after an activation that had to come in alone, whose way back failed too.
    world = play(state=replace(make_state(stage=Stage.KNOWN_GOOD), halted="rollback to r2 failed: it answers wrong"))
    world.drained = "fan (ann)"
    world.modes["r2"] = mode
    world.start("a", "r2")
    world.run(120.0)
    world.drained = ""
    assert world.run_until("eject", within=5.0) <= 1.1  # at the next look, and not after three BAD
    world.run(20.0)
    assert world.did("admit") == []
    world.engines["a"].mode = world.modes["r2"] = "right"
    world.run_until("admit", within=60.0)


def test_an_undrained_slot_that_loads_gets_traffic_once_it_answers() -> None:
    world = play()
    world.drained = "fan (ann)"
    world.run(2.0)
    world.start("a", "r2", loading=120.0)
    world.run(90.0)
    world.drained = ""
    world.run_until("eject", within=2.0)
    world.run_until("admit", within=90.0)


def test_whom_nobody_can_ask_is_undrained_all_the_same() -> None:
    world = play()
    see = world._see_slot
    world._see_slot = lambda slot: replace(see(slot), golden=None)  # type: ignore[method-assign]
    world.drained = "fan (ann)"
    world.run(120.0)
    world.drained = ""
    world.run(60.0)
    assert world.did("eject", *ACTS) == []


def test_a_drain_of_a_moment_costs_a_slot_that_is_well_no_traffic() -> None:
    world = play(**BAKED)
    for seconds in (1.5, 5.0, 300.0):
        world.drained = "fan (ann)"
        world.run(seconds)
        world.drained = ""
        world.run(30.0)
    assert world.did("eject", *ACTS) == []


def test_an_agent_that_just_started_takes_traffic_away_and_acts_later() -> None:
    world = World(settings=Settings("gpu1", hold_seconds=120.0))
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run(119.0)
    assert world.did("eject", *ACTS) == ["eject"]
    world.run(30.0)
    assert world.did("rollback") == ["rollback"]


def test_an_agent_restarted_in_the_middle_does_not_judge_afresh_and_lets_traffic_in_after_ok_looks_only() -> None:
    world = play()
    world.engines["a"].mode = "hung"
    world.run_until("eject", within=20.0)
    world.settings = replace(world.settings, hold_seconds=120.0)
    world.begin()
    world.run(60.0)
    assert world.did("admit", *ACTS) == []
    world.engines["a"].mode = "right"
    world.run(30.0)
    assert world.did("eject", "admit", *ACTS) == ["eject", "admit"]


def test_an_agent_restarted_after_its_own_restart_of_the_slot_knows_it() -> None:
    world = World(**BAKED, restarts=Restarts(slot=WALL - 60.0, release="r2"))
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run(90.0)
    assert world.did(*ACTS) == ["rollback"]


def test_a_gateway_that_restarts_while_the_slot_is_bad_is_told_again() -> None:
    world = play()
    world.engines["a"].mode = "hung"
    world.settings = world.watch.settings = replace(world.settings, hold_seconds=9999.0)
    world.run_until("eject", within=20.0)
    world.ejected = None
    assert world.run_until("eject", within=5.0) <= 2.1


def test_an_old_ejection_by_somebody_else_is_left_alone() -> None:
    world = World()
    world.ejected = Ejected("a drill", "lab")
    world.run(60.0)
    assert world.ejected == Ejected("a drill", "lab")


def test_a_person_who_stops_the_engine_is_not_fought() -> None:
    world = play(**BAKED)
    world.stop()
    world.run(120.0)
    assert world.did(*ACTS) == []
    assert world.stories[-1].to_decision().blame is Blame.ENVIRONMENT


def test_a_helper_that_fails_is_asked_again_later_and_told_in_the_story() -> None:
    world = play()
    world.helper_says = "the store is in use"
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run(50.0)
    assert world.did("rollback") == []
    assert "the store is in use" in " ".join(moment.says for moment in world.stories[-1].moments)
    world.helper_says = ""
    world.run(60.0)
    assert world.did("rollback") == ["rollback"]


def test_a_cold_rollback_is_proven_before_it_gets_traffic() -> None:
    world = play(state=make_state(warm=False))
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run_until("rollback", within=40.0)
    world.run_until("proven", within=10.0)
    world.run(10.0)
    assert world.lane == "b"
    assert world.ejected is None


def test_a_release_gets_traffic_once_it_is_proven() -> None:
    world = play(state=make_state(warm=False))
    world.activate("r3")
    world.run(10.0)
    assert world.did("prove", "lanes", "eject") == ["prove r3", "lanes b", "proven"]
    assert world.watch.target.release == "r3"
    proof = world.watch.driver.proof
    assert proof is not None
    assert proof.release == "r3"


def test_a_release_that_answers_wrong_never_gets_traffic_and_the_old_one_never_stops() -> None:
    world = play(state=make_state(warm=False))
    world.modes["r3"] = "wrong"
    world.activate("r3")
    world.run(60.0)
    assert world.did("lanes", "eject", *ACTS) == []
    assert world.lane == "a"
    assert world.state.bad[0].release == "r3"


def test_a_helper_that_was_killed_in_the_middle_of_a_step_is_told_to_recover() -> None:
    world = play(state=make_state(warm=False))
    world.handle(Activate("r3", WALL, "ann", "try"), cut=True)
    world.run(20.0)
    assert world.did("recover", "prove", "lanes") == ["recover", "prove r3", "lanes b", "proven"]


def test_an_agent_that_was_killed_while_it_proved_proves_again() -> None:
    world = play(state=make_state(warm=False))
    world.activate("r3")
    world.run(1.2)
    assert world.did("prove ") == ["prove r3"]
    world.begin()
    world.run(10.0)
    assert world.did("prove ", "lanes") == ["prove r3", "prove r3", "lanes b"]


@pytest.mark.slow
def test_a_good_release_ages_to_known_good() -> None:
    world = play()
    world.run(1300.0)
    assert world.state.active is not None
    assert world.state.active.stage is Stage.BAKED
    world.run(86400.0)
    assert world.state.active.stage is Stage.KNOWN_GOOD
    assert len(world.did("age")) == 2


def test_a_slot_that_loads_for_too_long_after_a_crash_is_bad() -> None:
    world = play()
    world.engines["a"].load_seconds = 10_000.0
    world.kill()
    world.run(60.0)
    assert world.did(*ACTS) == []
    world.run(30.0)
    assert world.did("rollback") == ["rollback"]


def test_an_agent_that_dies_while_it_restarts_the_slot_does_not_restart_it_twice() -> None:
    world = play(**BAKED)
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    while not world.calls:
        world.run(0.05)
    world.restarts = world.watch.restarts
    world.begin()
    world.run(90.0)
    assert [call.verb for call in world.calls] == ["restart", "rollback"]


def test_a_restart_that_failed_is_no_test_of_blame() -> None:
    world = play(**BAKED)
    world.helper_says = "the store is in use"
    world.modes["r2"] = world.engines["a"].mode = "wrong"
    world.run(100.0)
    assert {call.verb for call in world.calls} == {"restart"}
    assert world.watch.restarts == Restarts()


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_whatever_happens_the_budgets_hold_and_a_node_that_is_well_serves_again(seed: int) -> None:
    """Two hours of random trouble; then all is mended, and a person clears what is halted."""
    random = Random(seed)
    world = World(state=make_state(stage=random.choice([Stage.BAKING, Stage.KNOWN_GOOD]), warm=random.random() < 0.5))
    for _ in range(60):
        make_trouble(world, random)
        world.run(random.choice([0.3, 2.0, 7.0, 30.0, 200.0]))
    assert len(world.did("rollback")) <= 2
    mend(world)
    world.run(700.0)
    assert world.ejected is None
    assert world.watch.incident is None
    assert world.watch.verdict is Verdict.OK


def make_trouble(world: World, random: Random) -> None:
    engine = world.engines[world.lane]
    what = random.choice(
        ["mode", "mode", "kill", "gateway", "wedge", "skew", "agent", "peers", "drain", "load", "well"]
    )
    if what == "mode":
        engine.mode = random.choice(["right", "wrong", "hung", "stall", "slow", "stopped"])
    elif what == "kill" and engine.pid:
        world.kill(world.lane, status=random.choice([9, 11]))
    elif what == "gateway":
        world.gateway_is_up = not world.gateway_is_up
        world.ejected = None
    elif what == "wedge":
        world.gateway_is_wedged = True
    elif what == "skew":
        world.skew += random.choice([-50.0, 50.0])
    elif what == "agent":
        world.restarts = world.watch.restarts
        world.begin()
    elif what == "peers":
        world.peers = random.choice([PEERS, (), tuple(replace(p, serves=False, fails=True) for p in PEERS)])
    elif what == "drain":
        world.drained = "" if world.drained else "fan (ann)"
    elif what == "load":
        world.load = not world.load
    else:
        engine.mode = "right"


def mend(world: World) -> None:
    world.drained, world.peers, world.gateway_is_up, world.gateway_is_wedged = "", PEERS, True, False
    world.state = replace(world.state, halted="")
    for engine in world.engines.values():
        engine.mode = "right"


# --- what surrounds a release (R14) -----------------------------------------------------------------------------------

KERNEL, NEW_KERNEL = "0123456789ab", "ba9876543210"


def make_surrounded(stage: Stage = Stage.KNOWN_GOOD) -> NodeState:
    """r2 became known good with one kernel."""
    state = make_state(stage=stage)
    assert state.active
    return replace(state, active=replace(state.active, environment=KERNEL))


def reboot(world: World, *, surroundings: str) -> None:
    """A new life of the agent and of what it watches, perhaps in other surroundings."""
    world.surroundings = surroundings
    kept = world.watch.surroundings
    world.begin()
    world.watch.surroundings = kept
    world.start("a", "r2")


def test_what_fails_with_another_kernel_is_not_rolled_back_and_the_story_says_so() -> None:
    world = play(state=make_surrounded(), surroundings=KERNEL)
    assert (world.watch.surroundings.value, world.watch.surroundings.since) == (KERNEL, pytest.approx(WALL, abs=2))
    world.modes["r2"] = "wrong"
    reboot(world, surroundings=NEW_KERNEL)
    world.run(900.0)
    assert world.did("rollback", "halt") == []
    assert world.state.bad == ()
    story = world.stories[-1].to_decision()
    assert story.blame is Blame.ENVIRONMENT
    assert "its surroundings changed since it was known good" in story.blame_says
    assert "kernel, GPU driver, Triton" in story.blame_says


def test_with_the_kernel_that_it_was_good_with_it_is_rolled_back_as_ever() -> None:
    world = play(state=make_surrounded(), surroundings=KERNEL)
    world.modes["r2"] = "wrong"
    reboot(world, surroundings=KERNEL)
    world.run_until("rollback", within=300.0)


def test_a_day_well_in_new_surroundings_makes_them_no_excuse() -> None:
    world = play(state=make_surrounded(), surroundings=KERNEL)
    reboot(world, surroundings=NEW_KERNEL)
    world.run(86_400.0 / 48)
    assert world.watch.surroundings.value == NEW_KERNEL
    since = world.watch.surroundings.since
    world.skew += 90_000.0  # a day later, without playing it
    world.run(120.0)
    world.modes["r2"] = "wrong"
    reboot(world, surroundings=NEW_KERNEL)
    assert world.watch.surroundings.since == since
    world.run_until("rollback", within=600.0)


@pytest.mark.parametrize("said", ["", "refused"])
def test_where_nobody_can_say_what_surrounds_it_nothing_changes(said: str) -> None:
    world = play(state=make_surrounded())
    if said:
        ask = world._ask_helper

        def refuse(call: Call, seconds: float) -> Event:
            return HelperTold(world.clock(), call, said) if call.verb == "environment" else ask(call, seconds)

        world._ask_helper = refuse  # type: ignore[method-assign]
    world.modes["r2"] = "wrong"
    reboot(world, surroundings="")
    world.run_until("rollback", within=300.0)


def test_surroundings_are_asked_for_when_a_process_is_new_and_when_it_begins_to_fail() -> None:
    world = play(state=make_surrounded(), surroundings=KERNEL)
    assert [call.verb for call in world.calls] == ["environment"]
    world.run(1000.0)
    assert [call.verb for call in world.calls] == ["environment", "rehash"]
    world.engines["a"].mode = "wrong"
    world.run(20.0)
    assert [call.verb for call in world.calls][:4] == ["environment", "rehash", "environment", "restart"]
    baking = play(surroundings=KERNEL)  # what never was known good has nothing to be compared with
    assert "environment" not in {call.verb for call in baking.calls}
