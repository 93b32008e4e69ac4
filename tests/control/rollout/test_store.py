"""The store of rollouts: one active for an inventory, written before it is done, and only by whoever has the epoch."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest
from dsops.control.fleet.epoch import read_epoch, take_epoch
from dsops.control.rollout.store import FencedError, Kept, Store
from dsops.core.errors import DsopsError
from dsops.core.state import Epoch

SITE = Path("inventory/site.py")


def make_store(folder: Path) -> Store:
    return Store(folder, SITE)


def start(store: Store, release: str = "r1") -> Kept:
    return store.start(lambda _, epoch: f'{{"n": {epoch.number}}}', release=release, who="me", reason="new", at=1.0)


def test_a_rollout_begins_with_the_next_epoch_in_its_state(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    take_epoch(tmp_path, inventory=SITE)
    kept = start(store)
    assert (kept.epoch.number, kept.state, kept.ended) == (2, '{"n": 2}', None)
    assert store.find_active() == kept
    assert read_epoch(tmp_path, inventory=SITE) == kept.epoch


def test_a_second_one_is_refused_and_takes_no_epoch(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    start(store)
    with pytest.raises(DsopsError, match="rollout 1 of r1 by me is active"):
        start(store, "r2")
    assert read_epoch(tmp_path, inventory=SITE).number == 1
    assert Store(tmp_path, Path("inventory/other.py")).find_active() is None


def test_of_many_that_begin_at_once_one_does(tmp_path: Path) -> None:
    began: list[Kept] = []

    def try_it() -> None:
        with suppress(DsopsError):
            began.append(start(make_store(tmp_path)))

    threads = [threading.Thread(target=try_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [kept.id for kept in began] == [1]


def test_what_is_saved_is_there_for_the_next_controller(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.save(start(store), "later", at=5.0, says=("gpu1 has 1 %",), fleet="halt")
    kept = make_store(tmp_path).find_active()
    assert kept
    assert (kept.state, kept.saved) == ("later", 5.0)
    assert store.read_fleet() == "halt"
    assert [line.says for line in store.read_lines(kept.id)] == ["begins with r1: new", "gpu1 has 1 %"]


def test_an_outcome_ends_it_and_the_next_may_begin(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    ended = store.save(start(store), "x", at=9.0, outcome="done")
    assert (ended.ended, ended.outcome, store.find_active()) == (9.0, "done", None)
    assert start(store, "r2").id == 2
    assert [one.release for one in store.list()] == ["r2", "r1"]
    with pytest.raises(FencedError, match="was ended meanwhile"):
        store.save(ended, "y", at=10.0)


def test_whoever_takes_over_fences_the_one_before_off(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    first = start(store)
    second = store.take_over(who="you", says="goes on", at=2.0)
    assert second.epoch.number == 2
    with pytest.raises(FencedError) as caught:
        store.save(first, "stale", at=3.0)
    assert "another controller has taken over rollout 1 with epoch 2; ours was 1" in caught.value.what
    assert "dsops rollout resume" in caught.value.mend
    assert store.save(second, "good", at=4.0).state == "good"
    with pytest.raises(FencedError):
        store.check(first)
    store.check(second)


def test_any_other_command_that_moves_releases_stops_it_too(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    kept = start(store)
    store.check(kept)
    take_epoch(tmp_path, inventory=SITE)
    with pytest.raises(FencedError, match="another command has taken epoch 2 meanwhile; this rollout has 1"):
        store.check(kept)
    store.check(store.take_over(who="me", says="goes on", at=2.0))


def test_nothing_is_there_to_take_over_at_first(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="no rollout is active"):
        make_store(tmp_path).take_over(who="me", says="x", at=1.0)
    assert read_epoch(tmp_path, inventory=SITE) == Epoch(0, read_epoch(tmp_path, inventory=SITE).holder)


def test_an_order_waits_until_it_is_taken(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    kept = start(store)
    number = store.ask(kept, "pause", who="me", reason="lunch", at=1.0)
    (asked,) = store.find_asked(kept)
    assert (asked.verb, asked.reason, store.find_answer(number)) == ("pause", "lunch", None)
    store.take(asked.id, at=2.0, answer="it is paused already")
    assert store.find_asked(kept) == ()
    assert store.find_answer(number) == "it is paused already"


def test_a_change_of_the_fleet_may_refuse(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    assert store.change_fleet(lambda before: before + "a") == "a"
    assert store.change_fleet(lambda before: before + "b") == "ab"

    def refuse(before: str) -> str:
        raise DsopsError(f"no, not with {before}")

    with pytest.raises(DsopsError, match="no, not with ab"):
        store.change_fleet(refuse)
    assert store.read_fleet() == "ab"
