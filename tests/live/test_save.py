"""Releases that were never right, that turn wrong, and the way back: under load, with the times printed."""

import time
from pathlib import Path

import pytest

from tests.live.load import Asked, run_under
from tests.live.moves import Shelf, activate, bring, push, read_json, roll_back
from tests.live.site import INVENTORY, Service, dsops, get_good, node_door, on, read_agent, unmark, wait
from tests.live.watch import Watch, find_lost, find_why, find_wrong, read_history, tell_case

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
NODE = "gpu2"


def test_a_release_with_corrupted_weights_never_gets_traffic(fleet: Service, shelf: Shelf) -> None:
    release = shelf["corrupted"]
    with Watch(NODE) as watch:

        def act() -> tuple[object, ...]:
            watch.begin()
            return push(release, NODE), activate(release, NODE)

        (pushed, done), load = run_under(fleet.async_client(), act)
    tell_case("weights corrupted: golden answers fail", watch, load, expected="refused, no traffic")
    assert pushed.returncode == 0, pushed.stderr
    assert done.returncode != 0
    assert "golden answers are wrong" in done.stdout + done.stderr
    assert set(watch.values("release")) == {get_good()}
    assert not watch.was_refused, watch.tell()
    assert not find_lost(load)
    status = read_agent(NODE)
    assert [(mark["release"], mark["until"]) for mark in status["bad"]] == [(release.name, None)]
    again = activate(release, NODE)
    assert again.returncode != 0
    assert "marked bad" in again.stdout + again.stderr


def find_turn(wrong: list[Asked]) -> float:
    """When wrong answers began in earnest (Unix seconds): the model itself errs now and then."""
    pairs = zip(wrong, wrong[4:], strict=False)
    return next(one.ended_at for one, later in pairs if later.end - one.end < 2)


def test_a_release_that_turns_wrong_inside_its_bake_window_is_rolled_back_by_the_node(
    fleet: Service, shelf: Shelf
) -> None:
    release = shelf["wrong-later"]
    with Watch(NODE) as watch:

        def act() -> float:
            watch.begin()
            name = bring(release, NODE)
            came = watch.wait("release", lambda value: value == name, seconds=10)
            return watch.wait("release", lambda value: value == get_good(), seconds=60, since=came) - came

        back, load = run_under(fleet.async_client(), act)
    wrong = find_wrong(load)
    assert len(wrong) > 5, "the release did not turn wrong: this test shows nothing"
    watch.begin(at=find_turn(wrong))
    tell_case("right at first, wrong after 50 requests", watch, load, expected="release: rollback")
    print(f"back on the good release {back:.1f} s after it got traffic; {len(wrong)} answers were wrong meanwhile")
    assert not find_lost(load), "a rollback of a release that answers loses no request"
    why = find_why(NODE)
    assert (why["release"], why["action"], why["blame"]) == (release.name, "rollback", "release")
    story = dsops("why", NODE, "-i", INVENTORY)
    assert story.returncode == 0, story.stderr
    assert "rollback" in story.stdout
    assert release.name in story.stdout
    kinds = [entry["kind"] for entry in read_history(NODE)]
    assert "rollback" in kinds, kinds


def count_used(node: str) -> int:
    """Bytes used on the store's disk."""
    return int(on(node, "sync; df --output=used -B1 /var/lib/dsops | tail -1"))


def test_rolling_back_is_twenty_times_as_fast_as_bringing_it_again_and_copies_nothing(
    fleet: Service, shelf: Shelf
) -> None:
    ratios = [bring_and_go_back(shelf["calm"])]
    while max(ratios) < 20 and len(ratios) < 3:  # a pause of this machine is no fault of the rollback
        unmark(NODE, shelf["calm"].name)
        ratios.append(bring_and_go_back(shelf["calm"]))
    assert max(ratios) >= 20, ratios


def bring_and_go_back(release: Path) -> float:
    """How many times as long as the way back it took to bring the release; nothing is copied on that way."""
    since = time.monotonic()
    bring(release, NODE)  # its weights are there already: only the rest is sent
    deployed = time.monotonic() - since
    used, since = count_used(NODE), time.monotonic()
    said = read_json(node_door(NODE, "rollback", "--who", "live test", "--reason", "warm", "--json"))
    switched, typed = float(str(said["seconds"])), time.monotonic() - since
    print(
        f"brought: {deployed:.2f} s; rollback, warm: {switched * 1e3:.0f} ms on the node, {typed:.2f} s with ssh: "
        f"{deployed / switched:.0f}x ({deployed / typed:.0f}x); bytes on disk {count_used(NODE) - used:+d}"
    )
    wait("the agent sees it", lambda: read_agent(NODE)["release"] == get_good(), seconds=10)
    assert count_used(NODE) - used <= 65536  # no blob; the agent's own history may grow
    return deployed / switched


def test_the_operators_rollback_needs_no_argument_shows_its_plan_and_loses_no_request(
    fleet: Service, shelf: Shelf
) -> None:
    release = bring(shelf["calm"], NODE)
    plan = dsops("rollback", "-i", INVENTORY)  # nobody answers its question
    assert plan.returncode != 0
    assert NODE in plan.stdout + plan.stderr
    assert read_agent(NODE)["release"] == release
    done, load = run_under(fleet.async_client(), lambda: roll_back("--reason", "live test"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_agent(NODE)["release"] == get_good()
    assert not find_lost(load)
