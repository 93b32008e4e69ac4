"""The brain of a rollout: what it tells nodes, what holds it, what makes it go back."""

from dataclasses import replace

import pytest
from dsops.core.errors import DsopsError
from dsops.core.rollout import step
from dsops.core.rollout_events import (
    Abort,
    Activate,
    Back,
    Drain,
    Fell,
    Look,
    Mark,
    Pause,
    Refused,
    Resume,
    Say,
    Undrain,
    Widen,
)
from dsops.core.rollout_state import Rules, Stand, Status, parse_rollout
from dsops.core.samples import Tally

from tests.core.rollouts import NEW, RULES, Fleet, make_fleet

ORDERS = (Activate, Widen, Back, Drain, Undrain)
QUICK = Rules(canary_minutes=2, step_minutes=2, min_sample=20)


def orders(effects: list[object]) -> list[object]:
    return [effect for effect in effects if isinstance(effect, ORDERS)]


def begun(count: int = 3, *, rules: Rules = RULES, **fields: object) -> Fleet:
    fleet = make_fleet(count, **fields)  # type: ignore[arg-type]
    fleet.begin(rules)
    return fleet


def test_a_good_release_comes_to_every_node_a_step_after_the_other() -> None:
    fleet = begun()
    rollout = fleet.run(minutes=400)
    assert (rollout.status, fleet.having) == (Status.DONE, {"gpu1": 100, "gpu2": 100, "gpu3": 100})
    assert orders(fleet.told) == [
        Activate("gpu1", NEW, 1),
        Widen("gpu1", NEW, 5),
        Widen("gpu1", NEW, 50),
        Widen("gpu1", NEW, 100),
        Activate("gpu2", NEW, 100),
        Activate("gpu3", NEW, 100),
    ]
    # Five bakes of half an hour, and the looks between them.
    assert 150 * 60 <= fleet.at - rollout.began <= 170 * 60
    assert fleet.said()[-1] == "done"


def test_a_step_waits_for_its_bake_however_many_samples_there_are() -> None:
    fleet = begun(per_look=5000)
    fleet.run(minutes=29)
    assert fleet.having == {"gpu1": 1}


def test_a_step_waits_for_its_samples_however_long_it_baked() -> None:
    fleet = begun(per_look=5)
    rollout = fleet.run(minutes=150)
    assert (rollout.step, rollout.hold) == (0, "745 of 800 samples")
    assert fleet.run(minutes=20).step == 1


def test_without_samples_nothing_is_ever_promoted() -> None:
    fleet = begun(per_look=0)
    rollout = fleet.run(minutes=600)
    assert (rollout.status, rollout.step, rollout.hold) == (Status.RUNNING, 0, "0 of 800 samples")


def test_on_an_idle_fleet_steps_without_a_canary_wait_three_bakes_and_no_longer() -> None:
    fleet = begun(3, rules=replace(QUICK, min_sample=800), per_look=400)
    fleet.run(minutes=60, until=lambda rollout: rollout.step == 3)
    fleet.per_look, began = 0, fleet.at
    rollout = fleet.run(minutes=60, until=lambda rollout: rollout.step == 4)
    assert 3 * 2 * 60 <= fleet.at - began <= 5 * 2 * 60
    assert rollout.hold == ""
    assert fleet.run(minutes=60).status is Status.DONE


def test_a_node_that_does_not_tell_its_samples_holds_it() -> None:
    fleet = begun(3)
    fleet.run(minutes=5)
    fleet.mute = {"gpu1"}
    rollout = fleet.run(minutes=60)
    assert (rollout.step, rollout.hold) == (0, "no samples of gpu1")
    fleet.mute = set()
    assert fleet.run(minutes=30).step == 1


@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0])
def test_a_failing_release_reaches_one_node_and_is_marked(rate: float) -> None:
    fleet = begun(50, failing={NEW: rate})
    rollout = fleet.run(minutes=300)
    assert (rollout.status, fleet.having) == (Status.ABORTED, {})
    assert {effect.node for effect in fleet.told if isinstance(effect, Activate | Back)} == {"gpu1"}
    marks = [effect for effect in fleet.told if isinstance(effect, Mark)]
    assert [mark.release for mark in marks] == [NEW]
    assert marks[0].reason.startswith("failed requests: ")
    assert [fall.node for fall in fleet.told if isinstance(fall, Fell)] == [""]


def assert_late_order_is_taken_back(fleet: Fleet) -> None:
    assert fleet.rollout
    assert fleet.rollout.status is Status.ABORTING
    fleet.change("gpu1", canary=NEW, share=1)
    assert [type(one) for one in orders(fleet.look(seconds=1))] == [Back]
    fleet.look(seconds=1)
    assert (fleet.rollout.status, fleet.having) == (Status.ABORTED, {})


def test_one_that_failed_before_it_was_seen_with_its_share_is_waited_for_no_longer_than_it_has_it() -> None:
    fleet = begun(failing={NEW: 1.0}, obeys=lambda effect: not isinstance(effect, Activate), per_look=1000)
    fleet.look()
    # It was asked for its status before it took the release, and for its samples after.
    fleet.nodes["gpu1"].tallies[NEW] = Tally(1000, 1000)
    fleet.look(seconds=1)
    assert_late_order_is_taken_back(fleet)


def test_one_that_is_called_off_while_it_loads_is_over_once_the_node_has_marked_it() -> None:
    fleet = begun(obeys=lambda effect: not isinstance(effect, Activate))
    fleet.look()
    fleet.change("gpu1", is_moving=True)
    fleet.look(seconds=1)
    fleet.send(Abort(fleet.at, "ann", "the wrong one"))
    assert [type(one) for one in orders(fleet.look(seconds=1))] == [Back]
    fleet.change("gpu1", is_moving=False)
    fleet.look(seconds=1)
    assert fleet.rollout
    assert fleet.rollout.status is Status.ABORTED, "a late order is refused by a node that marked the release"


def test_an_order_of_which_no_look_shows_anything_may_come_late_and_is_waited_for() -> None:
    fleet = begun(obeys=lambda effect: not isinstance(effect, Activate))
    fleet.look()
    fleet.send(Abort(fleet.at, "ann", "the wrong one"))
    fleet.look(seconds=100)
    assert_late_order_is_taken_back(fleet)


def test_a_node_that_went_back_by_itself_takes_the_release_back_everywhere() -> None:
    fleet = begun(20)
    fleet.run(minutes=300, until=lambda rollout: rollout.step == 2 and rollout.baking)
    assert len(fleet.having) == 5
    fleet.fall("gpu3")
    told = fleet.look()
    assert Fell(fleet.at, NEW, "gpu3", "it went back by itself") in told
    assert Mark(NEW, "gpu3: it went back by itself") in told
    assert {one.node for one in told if isinstance(one, Back)} == {"gpu1", "gpu2", "gpu4", "gpu5"}
    assert fleet.run(minutes=10).status is Status.ABORTED
    assert not fleet.having


def test_a_release_that_gives_no_accepted_answers_is_given_up() -> None:
    fleet = begun(obeys=lambda effect: not isinstance(effect, Activate))
    fleet.look()
    fleet.change("gpu1", bad=("r-old", NEW), why_bad=("it crashed", "9 tokens/s, 70 are wanted"))
    assert Mark(NEW, "gpu1: it did not give accepted answers there: 9 tokens/s, 70 are wanted") in fleet.look()


def test_alerts_and_a_halt_hold_it_and_it_goes_on_when_they_are_over() -> None:
    fleet = begun(rules=QUICK, per_look=400)
    fleet.alerts = ("DsopsNodeSlow",)
    assert not orders(fleet.look())
    assert fleet.rollout
    assert fleet.rollout.hold == "alerts fire: DsopsNodeSlow"
    fleet.alerts, fleet.halt = (), "r7 fell 2 times within an hour"
    assert not orders(fleet.look())
    assert fleet.rollout.hold == "the fleet is halted: r7 fell 2 times within an hour"
    fleet.halt = ""
    assert orders(fleet.look()) == [Activate("gpu1", NEW, 1)]


def test_a_halt_never_holds_the_way_back() -> None:
    fleet = begun(failing={NEW: 0.5})
    fleet.run(minutes=2)
    fleet.halt = "three releases fell"
    assert fleet.run(minutes=20).status is Status.ABORTED


def test_the_bake_stops_while_something_holds() -> None:
    fleet = begun()
    fleet.run(minutes=10)
    assert fleet.rollout
    baked = fleet.rollout.baked
    fleet.alerts = ("DsopsNodeSlow",)
    fleet.run(minutes=60)
    assert fleet.rollout.baked == baked
    fleet.alerts = ()
    fleet.run(minutes=5)
    assert baked < fleet.rollout.baked <= baked + 300


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_clock_that_jumps_neither_ends_the_bake_nor_undoes_it(jump: float) -> None:
    fleet = begun()
    fleet.run(minutes=10)
    assert fleet.rollout
    baked = fleet.rollout.baked
    fleet.look(seconds=jump)
    assert baked <= fleet.rollout.baked <= baked + 300
    assert fleet.rollout.step == 0
    assert fleet.run(minutes=400).status is Status.DONE


def test_a_control_host_that_was_gone_asks_again_and_nothing_went_further_meanwhile() -> None:
    lost = {"count": 0}

    def obeys(effect: object) -> bool:
        lost["count"] += isinstance(effect, Activate)
        return lost["count"] > 1  # the first order never arrives

    fleet = begun(obeys=obeys)
    assert fleet.look()
    assert fleet.rollout
    stored = fleet.rollout.to_json()
    fleet.look(seconds=86_400)
    assert fleet.having == {"gpu1": 1}
    assert parse_rollout(stored, where="store").step == 0
    assert fleet.rollout.baked == 0


def test_what_is_told_twice_is_told_again_only_after_a_while() -> None:
    fleet = begun(obeys=lambda effect: False)
    assert orders(fleet.look(seconds=5)) == [Activate("gpu1", NEW, 1)]
    assert not orders(fleet.look(seconds=5))
    assert orders(fleet.look(seconds=60)) == [Activate("gpu1", NEW, 1)]


def test_a_refusal_holds_until_a_person_goes_on_without_that_node() -> None:
    fleet = begun(rules=QUICK, per_look=400, obeys=lambda effect: getattr(effect, "node", "") != "gpu1")
    fleet.look()
    told = fleet.send(Refused(fleet.at, "gpu1", "its passport is of other hardware"))
    assert told == [Say(fleet.at, "gpu1 refuses: its passport is of other hardware")]
    fleet.run(minutes=30)
    assert fleet.rollout
    assert fleet.rollout.hold == "gpu1: refuses: its passport is of other hardware"
    fleet.send(Resume(fleet.at, "ann", "without it"))
    rollout = fleet.run(minutes=60)
    assert (rollout.status, fleet.having) == (Status.DONE, {"gpu2": 100, "gpu3": 100})
    assert fleet.said()[-1] == "done, without gpu1"


def test_a_canary_that_becomes_unreachable_fails_where_the_others_answer() -> None:
    fleet = begun(60)
    fleet.run(minutes=5)
    fleet.change("gpu1", is_reachable=False)
    rollout = fleet.run(minutes=8)
    assert rollout.status is Status.ABORTING
    assert rollout.failed == "gpu1 became unreachable with it, and others did not"
    # It is not given up before it answers, or before a person says so.
    assert fleet.run(minutes=20).status is Status.ABORTING
    fleet.change("gpu1", is_reachable=True)
    assert Back("gpu1", NEW, rollout.failed) in fleet.look()
    assert fleet.run(minutes=5).status is Status.ABORTED


def test_a_person_may_leave_unreachable_nodes_behind_when_it_aborts() -> None:
    fleet = begun()
    fleet.run(minutes=5)
    fleet.change("gpu1", is_reachable=False)
    fleet.send(Abort(fleet.at, "ann", "no time"))
    assert fleet.run(minutes=30).status is Status.ABORTING
    fleet.send(Abort(fleet.at, "ann", "it is dead"))
    assert fleet.run(minutes=2).status is Status.ABORTED


def test_a_node_that_cannot_go_back_is_told_of_and_left_to_a_person() -> None:
    fleet = begun(obeys=lambda effect: not isinstance(effect, Back))
    fleet.run(minutes=5)
    fleet.send(Abort(fleet.at, "ann", "no time"))
    fleet.look()
    assert fleet.send(Refused(fleet.at, "gpu1", "there is no good release to go back to"))
    assert fleet.run(minutes=30).status is Status.ABORTING
    fleet.send(Abort(fleet.at, "ann", "by hand then"))
    rollout = fleet.run(minutes=2)
    assert rollout.status is Status.ABORTED
    assert rollout.parts[0].reason == "left behind: refuses: there is no good release to go back to"


def test_a_refusal_of_a_node_that_is_busy_only_means_later() -> None:
    fleet = begun(obeys=lambda effect: False)
    fleet.look()
    fleet.change("gpu1", is_moving=True)
    fleet.look()
    assert not fleet.send(Refused(fleet.at, "gpu1", "another move is under way"))
    fleet.change("gpu1", is_moving=False)
    assert orders(fleet.look()) == [Activate("gpu1", NEW, 1)]


def test_where_many_become_unreachable_together_it_holds() -> None:
    fleet = begun(10)
    fleet.run(minutes=5)
    for name in ("gpu1", "gpu2", "gpu3", "gpu4", "gpu5"):
        fleet.change(name, is_reachable=False)
    rollout = fleet.run(minutes=30)
    assert (rollout.status, rollout.failed) == (Status.RUNNING, "")
    assert rollout.hold == "5 of 10 of pool gpu do not serve, 1 may be out: gpu1, gpu2, gpu3, gpu4, gpu5"


def test_of_few_nodes_one_that_is_lost_holds_and_its_return_goes_on() -> None:
    fleet = begun(3)
    fleet.run(minutes=5)
    fleet.change("gpu1", is_reachable=False)
    rollout = fleet.run(minutes=20)
    assert (rollout.status, rollout.hold) == (Status.RUNNING, "gpu1: unreachable for 5 min")
    fleet.change("gpu1", is_reachable=True)
    assert fleet.run(minutes=400).status is Status.DONE


def test_one_that_a_person_went_on_without_takes_part_again_when_it_is_back_with_the_release() -> None:
    fleet = begun(10, rules=QUICK, per_look=400)
    fleet.run(minutes=100, until=lambda rollout: rollout.step == 2 and rollout.baking)
    fleet.change("gpu2", is_reachable=False)
    fleet.run(minutes=20)
    fleet.send(Resume(fleet.at, "ann", "without it"))
    fleet.run(minutes=100, until=lambda rollout: rollout.step == 4)
    fleet.change("gpu2", is_reachable=True)
    rollout = fleet.run(minutes=60)
    assert (rollout.status, len(fleet.having), fleet.said()[-1]) == (Status.DONE, 10, "done")


def test_a_node_that_a_person_drained_is_passed_over_and_taken_when_it_is_back() -> None:
    fleet = begun(4, rules=QUICK, per_look=400)
    fleet.change("gpu1", drained="li: new fans", is_serving=False)
    fleet.look()
    assert fleet.having == {"gpu2": 1}
    assert fleet.rollout
    part = fleet.rollout.find_part("gpu1")
    assert part
    assert (part.stand, part.reason) == (Stand.OUT, "drained: li: new fans")
    fleet.change("gpu1", drained="", is_serving=True)
    assert fleet.run(minutes=100).status is Status.DONE
    assert len(fleet.having) == 4


def test_a_node_that_is_gone_is_not_waited_for_and_a_new_one_gets_it_too() -> None:
    fleet = begun(4, rules=QUICK, per_look=400)
    fleet.look()
    del fleet.nodes["gpu3"]
    fleet.nodes |= {"gpu9": make_fleet(9).nodes["gpu9"]}
    assert fleet.run(minutes=100).status is Status.DONE
    assert set(fleet.having) == {"gpu1", "gpu2", "gpu4", "gpu9"}


def test_where_two_copies_do_not_fit_nodes_are_drained_few_at_a_time() -> None:
    fleet = begun(30, alone=range(1, 31), rules=QUICK, per_look=400)
    most = 0
    while fleet.rollout and not fleet.rollout.is_over and fleet.at < 50_000:
        fleet.look()
        most = max(most, sum(bool(node.seen.drained) for node in fleet.nodes.values()))
    assert (most, len(fleet.having)) == (3, 30)
    first = orders(fleet.told)[:3]
    assert first == [Drain("gpu1", "rollout 7: brings r1"), Activate("gpu1", NEW, 100, alone=True), Undrain("gpu1")]


def test_the_last_that_serves_is_never_drained() -> None:
    fleet = begun(2, alone=(1, 2), rules=QUICK, per_look=400)
    fleet.change("gpu2", is_reachable=False)
    fleet.run(minutes=60)
    assert not [effect for effect in fleet.told if isinstance(effect, Drain)]
    fleet.change("gpu2", is_reachable=True)
    assert fleet.run(minutes=60).status is Status.DONE


def test_a_node_that_was_drained_for_it_gets_its_traffic_back_when_something_holds() -> None:
    fleet = begun(30, alone=range(1, 31), obeys=lambda effect: not isinstance(effect, Activate))
    fleet.look()
    fleet.alerts = ("DsopsNodeSlow",)
    assert Undrain("gpu1") in fleet.look()
    assert fleet.nodes["gpu1"].seen.is_serving


def test_going_back_from_a_release_that_came_alone_drains_as_few_as_coming() -> None:
    fleet = begun(30, alone=range(1, 31), rules=QUICK, per_look=400)
    fleet.run(minutes=100, until=lambda rollout: rollout.step == 3 and rollout.baking)
    assert len(fleet.having) == 15
    fleet.send(Abort(fleet.at, "ann", "not now"))
    most = 0
    while fleet.rollout and not fleet.rollout.is_over and fleet.at < 50_000:
        fleet.look()
        most = max(most, sum(bool(node.seen.drained) for node in fleet.nodes.values()))
    assert (most, fleet.having) == (3, {})
    assert not any(node.seen.drained for node in fleet.nodes.values())


def test_a_pause_stops_it_but_not_its_judgement() -> None:
    fleet = begun(rules=QUICK, per_look=400)
    fleet.look()
    fleet.send(Pause(fleet.at, "ann", "lunch"))
    assert not orders([effect for _ in range(30) for effect in fleet.look()])
    assert fleet.rollout
    assert fleet.rollout.hold == "paused by ann: lunch"
    fleet.failing = {NEW: 0.5}
    assert fleet.run(minutes=10).status is Status.ABORTED


def test_an_a_b_share_is_held_until_a_person_goes_on() -> None:
    fleet = begun(rules=replace(QUICK, hold_at=25), per_look=400)
    rollout = fleet.run(minutes=500)
    assert (rollout.percent, rollout.hold) == (25, "held at 25 % until a person goes on")
    assert fleet.having == {"gpu1": 50}
    fleet.send(Resume(fleet.at, "ann", "B is better"))
    assert fleet.run(minutes=60).status is Status.DONE


def test_blue_green_is_one_step() -> None:
    fleet = begun(3, rules=replace(QUICK, steps=(100,)), per_look=400)
    fleet.look()
    assert fleet.having == {"gpu1": 100, "gpu2": 100, "gpu3": 100}
    assert fleet.run(minutes=60).status is Status.DONE


def test_the_first_release_of_a_fresh_fleet_has_nothing_to_stand_beside() -> None:
    fleet = make_fleet(3)
    for name, node in fleet.nodes.items():
        node.tallies = {}
        fleet.change(name, active="", is_serving=False)
    fleet.begin(QUICK)
    fleet.per_look = 400
    assert orders(fleet.look()) == [Activate("gpu1", NEW, 100)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bad": (NEW,)}, "r1 is marked bad on gpu1"),
        ({"skew": -120.0}, r"the clock is wrong on gpu1 \(-120 s\)"),
        ({"is_moving": True}, "another change is under way on gpu1"),
        ({"canary": "r5", "share": 5}, "another change is under way on gpu1"),
    ],
)
def test_what_forbids_it_is_said_before_anything_is_told(change: dict[str, object], words: str) -> None:
    fleet = make_fleet(3)
    fleet.change("gpu1", **change)
    with pytest.raises(DsopsError, match=words) as caught:
        fleet.begin()
    assert caught.value.mend


def test_half_the_fleet_out_of_reach_forbids_it() -> None:
    fleet = make_fleet(4)
    for name in ("gpu1", "gpu2"):
        fleet.change(name, is_reachable=False)
    with pytest.raises(DsopsError, match="2 of 4 of pool gpu do not serve, 1 may be out: gpu1, gpu2"):
        fleet.begin()


def test_a_halted_fleet_and_a_single_node_without_room_forbid_it() -> None:
    halted = make_fleet(4, halt="r7 fell 2 times")
    with pytest.raises(DsopsError, match="the fleet is halted: r7 fell 2 times"):
        halted.begin()
    with pytest.raises(DsopsError, match="gpu1 is the last that serves of pool gpu"):
        make_fleet(1, alone=(1,)).begin()
    everyone = make_fleet(2)
    for name in everyone.nodes:
        everyone.change(name, active=NEW)
    with pytest.raises(DsopsError, match="every node has r1 already"):
        everyone.begin()


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (Rules(steps=(1, 50)), "the steps 1,50 do not grow to 100 percent"),
        (Rules(steps=()), "the steps nothing do not grow"),
        (Rules(steps=(50, 5, 100)), "do not grow"),
        (Rules(hold_at=10), "10 % is none of the steps"),
        (Rules(min_sample=3), "a sample of 3 says nothing"),
        (Rules(canary_minutes=-1), "minutes and counts are not negative"),
    ],
)
def test_rules_that_make_no_rollout_are_refused(rules: Rules, words: str) -> None:
    with pytest.raises(DsopsError, match=words):
        make_fleet(3).begin(rules)


def test_what_is_over_stays_over() -> None:
    fleet = begun(rules=replace(QUICK, steps=(100,)), per_look=400)
    over = fleet.run(minutes=60)
    assert step(over, Look(fleet.at + 60, ())) == (over, ())
    with pytest.raises(DsopsError, match="rollout 7 is done"):
        step(over, Abort(fleet.at, "ann", "too late"))


def test_nothing_stops_the_way_back() -> None:
    fleet = begun(obeys=lambda effect: not isinstance(effect, Back))
    fleet.run(minutes=5)
    fleet.send(Abort(fleet.at, "ann", "not now"))
    fleet.run(minutes=5)
    for event in (Pause(fleet.at, "ann", "wait"), Resume(fleet.at, "ann", "go")):
        with pytest.raises(DsopsError, match="goes back, which nothing stops"):
            fleet.send(event)


def test_counters_that_began_anew_and_samples_of_before_do_not_count() -> None:
    fleet = make_fleet()
    # The release was tried here before: what it failed then is not of this rollout.
    fleet.nodes["gpu1"].tallies[NEW] = Tally(1000, 900)
    fleet.begin()
    fleet.look()
    fleet.nodes["gpu1"].tallies[NEW] = Tally(1050, 900)
    fleet.look()
    assert fleet.rollout
    part = fleet.rollout.find_part("gpu1")
    assert part
    assert part.new.synthetic == Tally(110, 0)
    fleet.nodes["gpu1"].tallies[NEW] = Tally(7, 0)
    fleet.look()
    part = fleet.rollout.find_part("gpu1")
    assert part
    assert part.new.synthetic == Tally(110 + 67, 0)
