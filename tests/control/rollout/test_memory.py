"""What a fleet remembers: falls become a halt, a halt stays until a person ends it, and bad releases stay out."""

import json
from pathlib import Path
from typing import Any

import pytest
from dsops.control.rollout.guard import KEY, check_forward, render_hold
from dsops.control.rollout.memory import Banned, Memory, parse_memory, remember, reset
from dsops.control.rollout.store import Store
from dsops.core.errors import DsopsError
from dsops.core.rollout_events import Fell, Mark, Say

from tests.control.rollout.world import NEW, SITE, make_world, start


def fall(release: str, *, at: float, node: str = "gpu1") -> Memory:
    return remember(Memory(), [Fell(at, release, node, "it failed")], at=at)


def test_two_falls_of_one_release_within_an_hour_halt_it_and_it_stays_halted() -> None:
    one = remember(Memory(), [Fell(0.0, "r1", "gpu1", "wrong"), Say(0.0, "x"), Mark("r1", "wrong")], at=0.0)
    assert (one.halted, one.bad[0].release) == ("", "r1")
    two = remember(one, [Fell(3599.0, "r1", "gpu2", "wrong")], at=3599.0)
    assert two.halted.startswith("r1 fell 2 times within an hour")
    assert remember(two, [], at=10**6) == two
    assert parse_memory(two.to_json()) == two


def test_three_of_any_halt_it_and_two_an_hour_apart_do_not() -> None:
    memory = Memory()
    for number in range(3):
        memory = remember(memory, [Fell(float(number), f"r{number}", "gpu1", "x")], at=float(number))
    assert memory.halted.startswith("3 releases fell within an hour")
    apart = remember(fall("r1", at=0.0), [Fell(3600.0, "r1", "gpu2", "x")], at=3600.0)
    assert apart.halted == ""


def test_a_message_that_comes_twice_is_one_fall() -> None:
    fell = Fell(0.0, "r1", "gpu1", "wrong")
    assert remember(Memory(), [fell, fell], at=1.0).halted == ""


def test_a_person_ends_it_and_what_fell_before_counts_no_more() -> None:
    halted = remember(fall("r1", at=0.0), [Fell(1.0, "r1", "gpu2", "x")], at=1.0)
    after = reset(halted, who="kim", reason="a broken switch", at=2.0)
    assert (after.halted, after.falls, after.reset) == ("", (), "kim: a broken switch")
    assert remember(after, [Fell(3.0, "r1", "gpu2", "x")], at=3.0).halted == ""
    with pytest.raises(DsopsError, match="not halted"):
        reset(after, who="kim", reason="again", at=4.0)


def test_what_cannot_be_read_says_so() -> None:
    assert parse_memory("") == Memory()
    with pytest.raises(DsopsError, match="cannot be read"):
        parse_memory("{")


def test_no_command_brings_a_release_forward_against_a_halt_or_the_bad_list(tmp_path: Path) -> None:
    store = Store(tmp_path, tmp_path / "site.py")
    check_forward(tmp_path, tmp_path / "site.py", "r1")
    store.change_fleet(lambda _: remember(Memory(), [Mark("r1", "wrong")], at=0.0).to_json())
    check_forward(tmp_path, tmp_path / "site.py", "r2")
    with pytest.raises(DsopsError, match="r1 is on the fleet's bad list: wrong"):
        check_forward(tmp_path, tmp_path / "site.py", "r1")
    store.change_fleet(lambda _: Memory(halted="too much").to_json())
    with pytest.raises(DsopsError, match="the fleet is halted: too much"):
        check_forward(tmp_path, tmp_path / "site.py", "r2")


def test_a_deploy_is_told_what_must_not_come_forward(tmp_path: Path) -> None:
    inventory = tmp_path / "site.py"
    assert render_hold(tmp_path / "none", inventory) == []
    assert not (tmp_path / "none").exists(), "who only deploys makes no state"
    store = Store(tmp_path, inventory)
    store.change_fleet(lambda _: Memory(bad=(Banned("r1", "it fell", 1.0),)).to_json())
    assert read_hold(tmp_path, inventory) == {"why": "", "bad": {"r1": "it fell"}}
    store = Store(tmp_path, SITE)
    start(store, make_world())
    assert read_hold(tmp_path, SITE) == {"why": f"rollout 1 of {NEW} is under way", "bad": {}}
    store.change_fleet(lambda _: Memory(halted="two fell").to_json())
    assert read_hold(tmp_path, SITE)["why"] == "the fleet is halted: two fell"


def read_hold(folder: Path, inventory: Path) -> Any:
    option, words = render_hold(folder, inventory)
    assert option == "--data"
    return json.loads(words.removeprefix(f"{KEY}="))


def test_who_may_not_know_of_a_halt_deploys_nothing(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="cannot be read") as caught:
        render_hold(Unreadable(tmp_path), tmp_path / "site.py")
    assert "DSOPS_STATE" in caught.value.mend


class Unreadable(type(Path())):  # type: ignore[misc]
    """Somebody else's folder; root may read everything."""

    def exists(self) -> bool:
        raise PermissionError(13, "Permission denied")
