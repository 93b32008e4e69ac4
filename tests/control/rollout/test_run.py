"""A runner: what it writes down and tells, what holds it, how it is steered, killed, taken over and fenced off."""

from pathlib import Path
from typing import Any

import pytest
from dsops.control.fleet.epoch import take_epoch
from dsops.control.rollout.doors import Order, Told
from dsops.control.rollout.memory import parse_memory
from dsops.control.rollout.run import Desk
from dsops.control.rollout.store import FencedError, Kept, Store
from dsops.core.errors import DsopsError
from dsops.core.rollout_events import Abort, Activate, Back, Drain, Undrain, Widen
from dsops.core.rollout_state import Rules, Stand, Status, parse_rollout
from dsops.core.state import Epoch

from tests.control.rollout.world import NEW, OLD, QUICK, SITE, Heard, World, make_runner, make_world, start


def run(folder: Path, world: World, *, rules: Rules = QUICK) -> tuple[Store, Heard, Status]:
    store, heard = Store(folder, SITE), Heard()
    runner = make_runner(store, start(store, world, rules=rules), world, heard)
    return store, heard, runner.go().status


def test_a_good_release_comes_over_the_whole_fleet_one_node_first(tmp_path: Path) -> None:
    world = make_world()
    store, heard, status = run(tmp_path, world)
    assert status is Status.DONE
    assert {node.active for node in world.nodes.values()} == {NEW}
    first = next(order for order, _ in world.said if isinstance(order, Activate))
    assert (first.share, {epoch.number for _, epoch in world.said}) == (1, {1})
    assert heard.told[-1] == "done"
    (kept,) = store.list()
    assert (kept.outcome, store.find_active()) == ("done", None)


def test_a_release_that_fails_reaches_one_node_and_is_on_the_fleets_bad_list(tmp_path: Path) -> None:
    world = make_world()
    world.rates = {NEW: 60.0}
    store, _, status = run(tmp_path, world)
    assert status is Status.ABORTED
    assert len(world.reached) == 1
    assert {(node.active, node.canary) for node in world.nodes.values()} == {(OLD, "")}
    assert any(isinstance(order, Back) for order, _ in world.said)
    memory = parse_memory(store.read_fleet())
    assert memory.find_bad(NEW)
    assert (len(memory.falls), memory.halted) == (1, "")
    assert store.list()[0].outcome.startswith("aborted: ")


def test_two_falls_of_one_release_halt_the_fleet(tmp_path: Path) -> None:
    world = make_world()
    world.rates = {NEW: 60.0}
    run(tmp_path, world)
    for node in world.nodes.values():
        node.bad = ()
    store, heard, _ = run(tmp_path, world)
    assert "fell 2 times within an hour" in parse_memory(store.read_fleet()).halted
    assert any(says.startswith("the fleet is halted: ") for says in heard.told)


def test_a_firing_alert_holds_it(tmp_path: Path) -> None:
    world = make_world()
    world.alerts = ("gpu3 does not answer",)
    began, reached = world.at, set[str]()

    def mend(world: World) -> None:
        if world.alerts and world.at > began + 600:
            reached.update(world.reached)
            world.alerts = ()

    world.on_sleep = mend
    _, heard, status = run(tmp_path, world)
    assert status is Status.DONE
    assert heard.shown[5].hold == "alerts fire: gpu3 does not answer"
    assert reached == set()


def test_the_state_is_written_before_its_effects_are_done(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    runner = make_runner(store, start(store, world), world)
    seen: list[Stand] = []

    def look_first(order: Order) -> None:
        kept = store.find_active()
        assert kept
        part = parse_rollout(kept.state, where="x").find_part(order.node)
        assert part
        seen.append(part.stand)

    world.on_tell = look_first
    runner.turn()
    assert seen == [Stand.COMES]


def test_killed_at_any_look_the_next_controller_goes_on_to_the_same_end(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    kept = start(store, world)
    looks = 0
    while store.find_active():
        runner = make_runner(store, kept, world)
        for _ in range(1 + looks % 3):
            if not runner.rollout.is_over:
                runner.turn()
                world.sleep(20.0)
        looks += 1
        if store.find_active():
            kept = store.take_over(who="me", says="goes on", at=world.at)
    assert looks > 10
    assert {node.active for node in world.nodes.values()} == {NEW}
    shares = [(order.node, order.share) for order, _ in world.said if isinstance(order, Activate)]
    assert len(shares) == len(set(shares)), "nobody is told twice what is done already"


def test_a_person_pauses_and_goes_on_through_the_store(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    runner = make_runner(store, start(store, world), world)
    runner.turn()
    number = store.ask(runner.kept, "pause", who="kim", reason="lunch", at=world.at)
    runner.turn()
    assert (store.find_answer(number), runner.rollout.status) == ("", Status.PAUSED)
    for _ in range(20):
        world.sleep(20.0)
        runner.turn()
    assert world.reached == {"gpu1"}
    store.ask(runner.kept, "resume", who="kim", reason="ate", at=world.at)
    assert runner.go().status is Status.DONE
    assert any(line.who == "kim" and "lunch" in line.says for line in store.read_lines(1))


def test_an_abort_takes_it_back_everywhere(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    runner = make_runner(store, start(store, world), world)
    while runner.rollout.step < 2 or not runner.rollout.baking:
        runner.turn()
        world.sleep(20.0)
    assert len(world.reached) == 2
    store.ask(runner.kept, "abort", who="kim", reason="no", at=world.at)
    assert runner.go().status is Status.ABORTED
    assert {(node.active, node.canary) for node in world.nodes.values()} == {(OLD, "")}
    memory = parse_memory(store.read_fleet())
    assert (memory.bad, memory.falls) == ((), ()), "a person's word is no fall"


def test_what_a_person_may_not_do_is_their_answer(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    runner = make_runner(store, start(store, world), world)
    runner.turn()
    store.ask(runner.kept, "abort", who="kim", reason="no", at=world.at)
    number = store.ask(runner.kept, "pause", who="kim", reason="wait", at=world.at)
    runner.turn()
    answer = store.find_answer(number)
    assert answer
    assert "goes back, which nothing stops" in answer


def test_a_node_that_refuses_holds_it_and_a_person_goes_on_without(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    world.nodes["gpu1"].refuses = "the passport was made on other hardware"
    runner = make_runner(store, start(store, world), world)
    for _ in range(3):
        runner.turn()
        world.sleep(20.0)
    assert "gpu1: refuses: the passport was made on other hardware" in runner.rollout.hold
    store.ask(runner.kept, "resume", who="kim", reason="without it", at=world.at)
    assert runner.go().status is Status.DONE
    assert [node.name for node in world.nodes.values() if node.active != NEW] == ["gpu1"]


def test_another_command_stops_it_before_its_next_order(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    runner = make_runner(store, start(store, world), world)
    runner.turn()
    told = len(world.said)
    take_epoch(tmp_path, inventory=SITE)
    with pytest.raises(FencedError, match="another command has taken epoch 2 meanwhile"):
        runner.go()
    assert len(world.said) == told


def test_nodes_that_hold_one_copy_are_drained_one_by_one_and_let_in_again(tmp_path: Path) -> None:
    world = make_world(4)
    world.alone = frozenset(world.nodes)
    out: list[int] = []
    world.on_sleep = lambda world: out.append(sum(bool(node.drained) for node in world.nodes.values()))
    _, _, status = run(tmp_path, world)
    assert status is Status.DONE
    assert max(out) <= 1
    assert not any(node.drained for node in world.nodes.values())
    kinds = [type(order) for order, _ in world.said]
    assert kinds == [Drain, Activate, Undrain] * 4


def test_an_order_that_was_lost_is_told_again(tmp_path: Path) -> None:
    world, store, heard = make_world(), Store(tmp_path, SITE), Heard()
    runner = make_runner(store, start(store, world), world, heard)
    world.loses = 1
    runner.turn()
    runner.turn()
    assert "gpu1: could not be told (the connection broke)" in heard.told
    assert runner.go().status is Status.DONE


def test_another_control_host_s_nodes_stop_it_in_words(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    runner = make_runner(store, start(store, world), world)
    world.nodes["gpu1"].epoch = Epoch(7, "east")
    with pytest.raises(FencedError, match="gpu1 refuses: epoch 1 is older than 7") as caught:
        runner.go()
    assert "gives no order any more" in caught.value.what
    assert "dsops epoch adopt" in caught.value.mend


class FullStore(Store):
    """Its disk is full from some time on."""

    full = False

    def save(self, *args: Any, **words: Any) -> Kept:
        if FullStore.full:
            raise DsopsError("the epochs cannot be read or written (database or disk is full)")
        return super().save(*args, **words)


def test_a_full_disk_stops_it_but_not_the_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, store = make_world(), FullStore(tmp_path, SITE)
    runner = make_runner(store, start(store, world), world)
    runner.turn()
    assert world.nodes["gpu1"].share == 1
    monkeypatch.setattr(FullStore, "full", True)
    with pytest.raises(DsopsError, match="disk is full"):
        runner.turn()
    assert world.nodes["gpu1"].share == 1
    with pytest.raises(DsopsError, match="disk is full"):
        runner.take(Abort(world.at, "kim", "no"))
    monkeypatch.setattr(FullStore, "full", False)
    runner.take(Abort(world.at, "kim", "no"))
    monkeypatch.setattr(FullStore, "full", True)
    with pytest.raises(DsopsError, match="disk is full"):
        runner.turn()
    assert (world.nodes["gpu1"].share, world.nodes["gpu1"].canary) == (0, "")


def test_what_waits_for_a_node_goes_out_after_it_and_not_at_all_when_it_must_go_back(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    kept = start(store, world)
    desk = Desk(store, world, "why")
    desk.begin = lambda order, kept: None  # type: ignore[method-assign]
    first, later, back = Activate("gpu1", NEW, 1), Widen("gpu1", NEW, 5), Back("gpu1", NEW, "bad")
    for order in (first, first, later):
        desk.send(order, kept)
    assert (desk.busy, desk.waiting) == ({("gpu1", False): first}, {("gpu1", False): later})
    desk.answers.put((first, Told()))
    desk.collect(kept)
    assert (desk.busy, desk.waiting) == ({("gpu1", False): later}, {})
    desk.send(Widen("gpu1", NEW, 25), kept)
    desk.send(back, kept)
    assert (desk.busy[("gpu1", True)], desk.waiting) == (back, {})
    desk.send(Drain("gpu1", "x"), kept)
    desk.hold(True)
    assert desk.waiting == {}


# --- a helper that is away for a moment --------------------------------------------------------------------------

AWAY = "the helper cannot be reached (Connection refused)"


def test_a_helper_that_is_away_for_a_moment_is_asked_again_and_nobody_is_stuck(tmp_path: Path) -> None:
    world, store, heard = make_world(), Store(tmp_path, SITE), Heard()
    pauses: list[float] = []
    world.on_pause = pauses.append
    world.nodes["gpu1"].is_away = 2
    runner = make_runner(store, start(store, world), world, heard)
    runner.turn()
    assert world.nodes["gpu1"].share == 1
    assert (len(pauses), sum(pauses) <= 20) == (2, True)
    runner.turn()
    assert "gpu1: took it (asked 3 times): nobody was there to do it for a moment" in heard.told
    assert any("gpu1: took it (asked 3 times)" in line.says for line in store.read_lines(1))
    assert runner.go().status is Status.DONE


def test_a_helper_that_stays_away_holds_it_and_it_is_said_how_often_it_was_asked(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    world.nodes["gpu1"].is_away = 3
    runner = make_runner(store, start(store, world), world)
    for _ in range(2):
        runner.turn()
        world.sleep(20.0)
    assert runner.rollout.parts[0].stand is Stand.STUCK
    assert runner.rollout.hold == f"gpu1: refuses: {AWAY} (asked 3 times)"
    assert len([order for order, _ in world.said if order.node == "gpu1"]) == 3


def test_a_refusal_is_not_asked_again(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    world.nodes["gpu1"].refuses = "the passport was made on other hardware"
    runner = make_runner(store, start(store, world), world)
    for _ in range(2):
        runner.turn()
    assert len(world.said) == 1


def test_what_must_not_go_forward_any_more_is_not_asked_again(tmp_path: Path) -> None:
    world, store, heard = make_world(), Store(tmp_path, SITE), Heard()
    world.nodes["gpu1"].is_away = 1
    runner = make_runner(store, start(store, world), world, heard)
    world.on_pause = lambda _: runner.take(Abort(world.at, "kim", "no"))
    runner.turn()
    assert runner.go().status is Status.ABORTED
    assert world.reached == {"gpu1"}
    assert (world.nodes["gpu1"].share, world.nodes["gpu1"].active) == (0, OLD)
    assert f"gpu1: could not be told ({AWAY}; not asked again, for nothing goes forward now)" in heard.told


def test_one_that_must_go_back_is_asked_again_while_nothing_goes_forward(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    runner = make_runner(store, start(store, world), world)
    runner.turn()
    world.nodes["gpu1"].is_away = 2
    runner.take(Abort(world.at, "kim", "no"))
    runner.turn()
    assert (world.nodes["gpu1"].share, world.nodes["gpu1"].is_away) == (0, 0)


def test_who_lost_its_say_meanwhile_does_not_ask_again(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    world.nodes["gpu1"].is_away = 1
    runner = make_runner(store, start(store, world), world)
    world.on_pause = lambda _: take_epoch(tmp_path, inventory=SITE) and None
    with pytest.raises(FencedError):
        runner.go()
    assert len(world.said) == 1


def test_a_node_that_refuses_to_go_back_is_told_of_and_left_to_a_person(tmp_path: Path) -> None:
    world, store = make_world(), Store(tmp_path, SITE)
    runner = make_runner(store, start(store, world), world)
    runner.turn()
    world.nodes["gpu1"].refuses = "there is no good release to go back to"
    for verdict in (Status.ABORTING, Status.ABORTED):
        store.ask(runner.kept, "abort", who="kim", reason="no", at=world.at)
        for _ in range(3):
            if not runner.rollout.is_over:
                runner.turn()
                world.sleep(20.0)
        assert runner.rollout.status is verdict
        assert "refuses: there is no good release to go back to" in runner.rollout.parts[0].reason
