"""A canary beside the active release, second by second: what is seen, what is given back, and what is left alone."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from dsops.core.events import Rollback
from dsops.core.looks import Witness
from dsops.core.state import Stage, Step
from dsops.core.status import Blame, Canary, Condition, Finding, Verdict
from dsops.node.agent.events import Probe
from dsops.node.agent.settings import Settings
from dsops.node.sources.gateway import Ejected

from tests.node.agent.world import WALL, World, make_state

ACTS = ("restart", "rollback", "halt", "eject")
BAKED = make_state(stage=Stage.KNOWN_GOOD, warm=False)


def play(share: int = 5, **changes: Any) -> World:
    """r3 has had a share of the traffic in slot b for half a minute, beside r2, and all is well."""
    world = World(**{"state": BAKED, **changes})
    world.run(11.0)
    world.activate("r3", share=share)
    world.run(31.0)
    assert world.state.move
    assert world.state.move.step is Step.CANARY
    assert (world.lane, world.did(*ACTS, "refuted")) == ("a", [])
    assert show(world).verdict is Verdict.OK
    return world


def show(world: World) -> Canary:
    canary = world.watch.canary.describe()
    assert canary
    return canary


def spoil(world: World, slot: str, mode: str) -> None:
    engine = world.engines[slot]
    world.modes[engine.release] = engine.mode = mode


def is_out(world: World) -> bool:
    return world.state.canary is not None


def test_a_canary_that_is_well_is_left_alone_and_gets_its_sample_in_its_time() -> None:
    world = play(share=1)
    world.run(1800.0 - 31.0)
    assert world.did("refuted", "recover", *ACTS) == []
    assert world.watch.canary.incident is None
    tallies = world.watch.canary.sampling.tallies
    assert tallies["r2"].requests >= 800
    assert tallies["r3"].requests >= 800
    assert abs(tallies["r2"].requests - tallies["r3"].requests) < 10
    assert {(one.failed, one.wrong) for one in tallies.values()} == {(0, 0)}
    assert sum(tallies["r3"].ttft) == sum(tallies["r3"].per_token) == tallies["r3"].requests
    assert show(world).synthetic == tallies["r3"].requests


def test_a_canary_grows_lane_by_lane_and_becomes_the_active_release() -> None:
    world = play(share=1)
    since = show(world).since
    for share in (5, 25, 50):
        world.widen("r3", share)
        world.run(20.0)
        canary = show(world)
        assert (canary.release, canary.slot, canary.share) == ("r3", "b", share)
        assert canary.since > since
        since = canary.since
    world.widen("r3", 100)
    world.run(20.0)
    assert world.watch.canary.describe() is None
    assert world.watch.target.release == "r3"
    assert world.did("lanes") == ["lanes b 1", "lanes b 5", "lanes b 25", "lanes b 50", "lanes b"]


def count_samples(world: World, release: str = "r3") -> int:
    tally = world.watch.canary.sampling.tallies.get(release)
    return tally.requests if tally else 0


def play_whole(**changes: Any) -> World:
    """r3 was a canary and has just got all of the traffic."""
    world = play(**changes)
    world.widen("r3", 100)
    world.run(2.0)
    assert (world.watch.target.release, world.watch.canary.move) == ("r3", None)
    return world


def test_a_release_that_has_all_of_the_traffic_is_sampled_until_it_has_baked() -> None:
    world = play_whole()
    before, beside = count_samples(world), count_samples(world, "r2")
    world.run(1800.0)
    assert world.state.active
    assert world.state.active.stage is Stage.BAKED
    assert 800 <= count_samples(world) - before <= 1000  # as many as a step wants, and no more than one every 1.8 s
    assert count_samples(world, "r2") == beside
    baked = count_samples(world)
    world.run(120.0)
    assert count_samples(world) == baked
    assert world.did("refuted", *ACTS) == []


def test_samples_of_a_release_that_bakes_come_through_its_lanes_as_clients_do() -> None:
    world, probes = play_whole(), list[Probe]()
    do = world._do_probe
    world._do_probe = lambda probe: (probes.append(probe), do(probe))[1]  # type: ignore[method-assign,func-returns-value]
    world.run(20.0)
    assert any(probe.sample for probe in probes)
    assert not any(probe.pinned for probe in probes)
    assert {probe.witness for probe in probes if probe.sample} == {Witness.GATEWAY}


def test_what_bakes_is_not_sampled_while_it_is_drained_ejected_or_another_one_comes() -> None:
    world = play_whole()
    for close, reopen in (("drained", ""), ("ejected", None)):
        setattr(world, close, "fan (ann)" if close == "drained" else Ejected("a drill", "lab"))
        world.run(3.0)
        before = count_samples(world)
        world.run(60.0)
        assert count_samples(world) == before, close
        setattr(world, close, reopen)
        world.run(20.0)
        assert count_samples(world) > before
    world._do_prove = lambda effect: None  # type: ignore[method-assign,assignment,return-value]
    world.activate("r4")
    world.run(2.0)
    before = count_samples(world)
    world.run(20.0)
    assert world.state.move
    assert count_samples(world) == before


def test_a_release_that_fails_while_it_bakes_shows_so_in_its_samples() -> None:
    world = play_whole()
    spoil(world, "b", "wrong")
    world.run_until("rollback", within=60.0)
    assert world.watch.canary.sampling.tallies["r3"].wrong >= 1


def test_wrong_answers_give_the_share_back_and_the_story_says_why() -> None:
    world = play()
    spoil(world, "b", "wrong")
    assert world.run_until("refuted", within=30.0) <= 10.0
    world.run(10.0)
    assert world.did("lanes", *ACTS) == ["lanes b 5", "lanes a"]
    bad = world.state.find_bad("r3", at=WALL + 1e9)
    assert bad
    assert bad.reason.startswith("as a canary at 5 %: p")
    assert world.state.rollbacks == ()
    assert world.state.active
    assert (world.state.active.release, world.state.active.stage) == ("r2", Stage.KNOWN_GOOD)
    assert world.watch.incident is None
    story = world.stories[-1].to_decision()
    assert (story.release, story.blame, story.action) == ("r3", Blame.RELEASE, "return of its share")
    assert story.outcome.startswith("its share was taken back: r2 has all of the traffic, ")
    assert "environment: the active slot in the same machine answers right" in story.excludes
    kinds = [moment.kind for moment in story.moments]
    assert kinds[:3] == ["bad 1", "bad 2", "bad 3"]
    assert "verdict" in kinds
    assert "returned" in kinds
    assert world.watch.canary.sampling.tallies["r3"].wrong >= 1
    assert world.watch.canary.sampling.tallies["r2"].wrong == 0


@pytest.mark.parametrize(("status", "says"), [(11, "signal 11"), (9, "signal 9")])
def test_a_canary_that_dies_loses_its_share_at_once(status: int, says: str) -> None:
    world = play()
    world.kill("b", status=status)
    assert world.run_until("refuted", within=5.0) <= 0.2
    world.run(10.0)
    assert world.did("lanes") == ["lanes b 5", "lanes a"]
    bad = world.state.bad[0]
    assert bad.until is not None
    story = world.stories[-1].to_decision()
    assert says in " ".join(moment.says for moment in story.moments)
    assert story.ended is not None


def test_a_canary_that_refuses_connections_loses_its_share_at_once() -> None:
    world = play()
    world.stop("b")
    assert world.run_until("refuted", within=5.0) <= 0.2
    world.run(5.0)
    assert world.did("lanes") == ["lanes b 5", "lanes a"]
    assert world.state.bad[0].until is not None
    story = world.stories[-1].to_decision()
    assert (story.blame, story.blame_says) == (Blame.ENVIRONMENT, "somebody stopped the engine's unit")


@pytest.mark.parametrize("mode", ["hung", "stopped", "stall"])
@pytest.mark.parametrize("load", [True, False])
def test_a_canary_that_hangs_is_given_back_and_may_be_tried_again_later(mode: str, load: bool) -> None:
    world = play(load=load)
    spoil(world, "b", mode)
    assert world.run_until("refuted", within=60.0) <= 30.0
    assert world.state.bad[0].until is not None


@pytest.mark.parametrize("mode", ["slow"])
def test_what_cannot_be_judged_acts_upon_nothing(mode: str) -> None:
    world = play()
    before = world.watch.canary.sampling.tallies["r3"].requests
    spoil(world, "b", mode)
    world.run(600.0)
    assert is_out(world)
    assert world.watch.canary.eyes.verdict is Verdict.UNKNOWN
    assert world.watch.canary.sampling.tallies["r3"].requests <= before + 3


def test_a_jump_of_the_clock_changes_nothing() -> None:
    world = play()
    world.skew = 86400.0
    world.run(60.0)
    world.skew = -3600.0
    world.run(60.0)
    assert is_out(world)
    assert world.watch.canary.incident is None


@pytest.mark.parametrize("mode", ["wrong", "hung"])
def test_what_befalls_both_slots_is_no_fault_of_the_canary(mode: str) -> None:
    world = play()
    for slot in ("a", "b"):
        world.engines[slot].mode = mode
    world.run(60.0)
    assert is_out(world)
    assert world.did("refuted", "restart", "rollback") == []
    canary = show(world)
    assert canary.verdict is Verdict.BAD
    assert canary.reason.startswith("held, since the active slot fails too: ")
    story = next(one for one in reversed(world.stories) if one.release == "r3").to_decision()
    assert (story.blame, story.action) == (Blame.ENVIRONMENT, "none")
    active = next(one for one in reversed(world.stories) if one.release == "r2").to_decision()
    assert active.blame is Blame.ENVIRONMENT
    assert "the canary in slot b fails at the same time" in active.blame_says
    for slot in ("a", "b"):
        world.engines[slot].mode = "right"
    world.run(60.0)
    assert is_out(world)
    assert (show(world).verdict, show(world).reason) == (Verdict.OK, "")
    assert world.watch.canary.incident is None
    assert world.watch.incident is None


def test_a_canary_that_still_fails_when_the_active_slot_is_well_again_is_judged_afresh() -> None:
    world = play()
    for slot in ("a", "b"):
        world.engines[slot].mode = "wrong"
    world.run(30.0)
    world.engines["a"].mode = "right"
    took = world.run_until("refuted", within=60.0)
    assert took > 5.0
    assert world.did("restart", "rollback") == []
    assert "begin afresh" in " ".join(moment.says for moment in world.stories[-1].moments)


def test_both_dying_in_one_moment_is_no_fault_of_the_canary() -> None:
    world = play()
    world.kill("b")
    world.kill("a")
    world.run(30.0)
    assert is_out(world)
    assert world.did("refuted", "rollback", "restart") == []
    assert show(world).verdict is Verdict.OK
    assert world.ejected is None
    told = next(one for one in reversed(world.stories) if one.release == "r3").to_decision()
    assert "its process ended too" in told.blame_says


def test_a_wedged_gateway_is_restarted_and_the_canary_stays() -> None:
    world = play()
    world.gateway_is_wedged = True
    world.run(90.0)
    assert world.did("restart", "refuted", "rollback") == ["restart gateway"]
    assert is_out(world)
    assert show(world).verdict is Verdict.OK


def test_a_broken_gpu_gives_the_share_back_without_a_lasting_mark() -> None:
    world = play()
    world.findings = (Finding("gpu0", "gpu.lost", Verdict.BAD, Blame.HARDWARE, Condition.FAILED, "lost", "reboot"),)
    spoil(world, "b", "wrong")
    world.run_until("refuted", within=30.0)
    assert world.state.bad[0].until is not None
    world.run(5.0)
    assert world.stories[-1].to_decision().blame is Blame.HARDWARE


def test_the_active_release_is_mended_beside_its_canary() -> None:
    world = play()
    world.engines["a"].mode = "wrong"
    assert world.run_until("restart slot", within=40.0) <= 30.0
    world.run(40.0)
    assert is_out(world)
    assert world.did("refuted", "rollback") == []
    assert show(world).verdict is Verdict.OK


def test_an_active_release_that_must_go_back_sends_its_canary_home_first() -> None:
    world = play(state=replace(make_state(warm=False), slots=BAKED.slots))
    spoil(world, "a", "wrong")
    world.run_until("rollback", within=60.0)
    assert not is_out(world)
    assert world.state.bad[0].release == "r3"
    assert world.state.bad[0].until is not None
    assert world.state.bad[0].reason.startswith("the active release fails beside it: ")
    world.run(60.0)
    assert world.state.active
    assert world.state.active.release == "r1"


def test_a_person_who_calls_it_off_opens_no_story() -> None:
    world = play()
    world.handle(Rollback(at=world.clock().wall, who="ann", reason="no", own=False, lasting=False))
    world.run(30.0)
    assert world.watch.canary.describe() is None
    assert world.did("refuted", "eject") == []
    assert world.stories == []


def test_a_helper_that_fails_is_asked_again_soon() -> None:
    world = play()
    world.helper_says = "the store is in use"
    spoil(world, "b", "wrong")
    world.run(25.0)
    assert len([call for call in world.calls if call.verb == "refuted"]) >= 3
    world.helper_says = ""
    assert world.run_until("refuted", within=10.0) <= 6.0
    world.run(5.0)
    says = [moment.says for moment in world.stories[-1].moments if moment.kind == "failed"]
    assert "its share is not taken back: the store is in use" in says


def test_a_helper_that_works_for_long_is_not_asked_twice() -> None:
    world = play()
    calls: list[str] = []
    world._ask_helper = lambda call, seconds: calls.append(call.verb)  # type: ignore[method-assign,assignment,return-value]
    spoil(world, "b", "wrong")
    world.run(60.0)
    assert calls == ["refuted"]


def test_a_drained_node_is_only_looked_at_and_asked_for_no_samples() -> None:
    world = play()
    world.drained = "fan (ann)"
    world.run(3.0)
    before = dict(world.watch.canary.sampling.tallies)
    spoil(world, "b", "wrong")
    world.run(120.0)
    assert is_out(world)
    assert world.watch.canary.sampling.tallies == before
    assert world.watch.canary.incident is None
    world.drained = ""
    assert world.run_until("refuted", within=40.0) > 5.0


def test_samples_pause_while_clients_are_kept_away() -> None:
    world = play()
    world.ejected = Ejected("a drill", "lab")
    world.run(3.0)
    before = dict(world.watch.canary.sampling.tallies)
    world.run(60.0)
    assert world.watch.canary.sampling.tallies == before


def test_busy_engines_are_asked_less() -> None:
    world = play()
    before = world.watch.canary.sampling.tallies["r3"].requests
    world.waiting = 3.0
    world.run(200.0)
    grown = world.watch.canary.sampling.tallies["r3"].requests - before
    assert 15 <= grown <= 45


def test_an_agent_restarted_in_the_middle_finds_the_canary_again() -> None:
    world = play()
    before, life = show(world), world.watch.canary.sampling.life
    world.begin()
    world.run(20.0)
    after = show(world)
    assert (after.release, after.share, after.since) == (before.release, before.share, before.since)
    assert world.watch.canary.sampling.life != life
    spoil(world, "b", "wrong")
    assert world.run_until("refuted", within=30.0) <= 10.0


def test_an_agent_that_was_away_while_the_canary_died_gives_its_share_back() -> None:
    world = play()
    engine = world.engines["b"]
    engine.pid, engine.active, engine.result = 0, "failed", "exit-code"
    world.begin()
    assert world.run_until("refuted", within=10.0) <= 5.0


def test_an_agent_that_was_away_while_the_canary_was_started_again_gives_its_share_back() -> None:
    world = play()
    world.engines["b"].load_seconds = 30.0
    world.start("b", "r3")
    world.begin()
    assert world.run_until("refuted", within=10.0) <= 2.0
    assert "while nobody looked" in world.state.bad[0].reason


def test_a_canary_that_was_started_again_and_serves_is_left_alone() -> None:
    world = play()
    world.start("b", "r3", loading=0.0)
    world.begin()
    world.run(60.0)
    assert is_out(world)


def test_a_canary_whose_golden_prompts_cannot_be_read_is_said_so_and_nothing_is_done() -> None:
    world = play()
    see = world._see_slot
    world._see_slot = lambda slot: replace(see(slot), golden=None) if slot == "b" else see(slot)  # type: ignore[method-assign]
    spoil(world, "b", "wrong")
    world.run(120.0)
    assert is_out(world)
    assert show(world).reason == "nobody can ask it: its golden prompts cannot be read"
    assert show(world).verdict is Verdict.UNKNOWN


def test_a_node_that_waits_with_a_canary_is_not_told_to_recover() -> None:
    world = play()
    world.run(60.0)
    assert world.did("recover") == []


def test_the_hold_after_the_agents_start_does_not_keep_a_share_with_what_fails() -> None:
    world = play()
    world.settings = Settings("gpu1", hold_seconds=300.0)
    world.begin()
    spoil(world, "b", "wrong")
    assert world.run_until("refuted", within=40.0) <= 15.0


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_a_canary_never_outlives_its_failing_beside_an_active_slot_that_is_well(seed: int) -> None:
    """Random trouble; then the active slot is well for two minutes, and so is the canary, or it is out no more."""
    random = Random(seed)
    world = play(share=random.choice([1, 5, 25, 50]))
    for _ in range(12):
        make_trouble(world, random)
        world.run(random.choice([0.3, 2.0, 7.0, 30.0]))
    world.drained, world.gateway_is_up, world.gateway_is_wedged, world.ejected = "", True, False, None
    world.state = replace(world.state, halted="")
    world.engines[world.lane].mode = "right"
    world.modes.pop(world.engines[world.lane].release, None)
    if is_out(world):
        assert world.state.move
        spoil(world, world.state.move.slot, "wrong")
    world.run(150.0)
    assert not is_out(world)
    assert world.watch.canary.incident is None
    assert world.watch.canary.describe() is None
    lanes = [one for one in world.did("lanes") if one == f"lanes {world.lane}"]
    assert lanes


@pytest.mark.parametrize("seed", range(12))
def test_whatever_befalls_the_others_a_canary_that_is_well_is_never_blamed(seed: int) -> None:
    """The active slot, the gateway, the machine and the agent itself suffer for some minutes."""
    random = Random(seed)
    world = play(share=random.choice([1, 5, 25, 50]))
    for _ in range(12):
        make_trouble(world, random, slots="a")
        world.run(random.choice([0.3, 2.0, 7.0, 30.0]))
    assert "refuted" not in {call.verb for call in world.calls}
    called_off = world.did("rollback") != []
    assert is_out(world) != called_off


def make_trouble(world: World, random: Random, *, slots: str = "ab") -> None:
    what = random.choice(["mode", "mode", "kill", "both", "gateway", "wedge", "skew", "agent", "drain", "well"])
    slot = random.choice(slots)
    engine = world.engines[slot]
    if what == "mode":
        engine.mode = random.choice(["right", "wrong", "hung", "stall", "slow", "stopped"])
    elif what == "kill" and engine.pid and random.random() < 0.5:
        world.kill(slot, status=random.choice([9, 11]))
    elif what == "both" and "b" in slots and all(one.pid for one in world.engines.values()):
        world.kill("a")
        world.kill("b")
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
    elif what == "drain":
        world.drained = "" if world.drained else "fan (ann)"
    else:
        world.engines["a"].mode = world.engines["b"].mode = "right"
