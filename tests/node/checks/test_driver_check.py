"""The GPU driver's set as its gate wrote it down: what a person hears of it, and when."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from dsops.core.drivers.boots import Act, Outcome, State, begin, end_turn, forget, judge_boot
from dsops.core.status import Measure, Verdict

from tests.node.checks.bare_metal import Server

OLD, NEW = "debian12-535.261.03", "debian12-535.309.01"
STATE, VERDICT = "var/lib/dsops/driver/state.json", "var/lib/dsops/driver/verdict.json"
WHY = "the module's file is 535.261.03, the set has 535.309.01"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def write(server: Server, state: State, outcome: Outcome | None, *, boot: str = "") -> None:
    """As the gate leaves it after a boot; None: the verdict stays as it was."""
    server.write(STATE, json.dumps(asdict(state)))
    if outcome:
        told = {"boot": boot or server.boot, "set": state.current, "outcome": outcome.value, "says": state.says}
        server.write(VERDICT, json.dumps(told))


def settle(name: str) -> State:
    state, _ = judge_boot(end_turn(begin(None, name), "b0"), boot="b1", outcome=Outcome.PASSED)
    return state


def go_back() -> State:
    """Two boots of the newer set failed, and the older is on the disk again."""
    state = end_turn(begin(settle(OLD), NEW), "b1")
    for boot in ("b2", "b3"):
        state, act = judge_boot(state, boot=boot, outcome=Outcome.FAILED, why=WHY)
    assert act is Act.TURN
    return end_turn(state, "b3")


def test_a_server_without_a_set_is_skipped(server: Server) -> None:
    assert server.live(60) == set()
    assert "No such file" in server.checkup.skipped["driver"]


def test_a_set_that_passed_is_well_and_one_that_failed_is_an_alert(server: Server) -> None:
    write(server, settle(OLD), Outcome.PASSED)
    assert server.live(60) == set()
    assert "driver" not in server.checkup.skipped
    state, _ = judge_boot(settle(OLD), boot="b9", outcome=Outcome.FAILED, why="libcuda1 is not held")
    write(server, state, Outcome.FAILED)
    assert server.live(60) == {"driver driver.gate"}
    (found,) = server.find()
    assert found.measure is Measure.ALERT
    assert "passed before, and not now: libcuda1 is not held" in found.reason


def test_a_server_that_went_back_by_itself_says_so_until_a_person_cleared_it(server: Server) -> None:
    server.boot = "b4"
    state, _ = judge_boot(go_back(), boot="b4", outcome=Outcome.PASSED)
    write(server, state, Outcome.PASSED)
    assert server.live(60) == {"driver driver.left"}
    (found,) = server.find()
    assert found.measure is Measure.ALERT
    assert found.reason == f"{NEW} failed at boot 2 of 2: {WHY}; back to {OLD}"
    write(server, forget(state), None)
    assert server.live(60) == set()


def test_a_halted_server_asks_for_a_person(server: Server) -> None:
    state = end_turn(begin(None, OLD), "b0")
    for boot in ("b1", "b2"):
        state, _ = judge_boot(state, boot=boot, outcome=Outcome.FAILED, why=WHY)
    write(server, state, Outcome.FAILED, boot="b2")
    assert "driver driver.gate" in server.live(60)
    (found,) = server.find()
    assert found.reason.count("a person must look") == 1


def test_a_set_that_waits_for_its_reboot_is_quiet_however_long_the_server_is_up(server: Server) -> None:
    server.now = 100_000.0
    write(server, end_turn(begin(None, OLD), server.boot), None)
    assert server.live(1200) == set()
    assert server.find() == ()


@pytest.mark.parametrize(
    "then",
    [
        lambda state: end_turn(begin(state, NEW), "b9"),
        lambda state: end_turn(begin(state, OLD), "b9"),
        forget,
    ],
)
def test_what_was_deployed_or_cleared_after_a_failed_boot_is_not_told_with_its_verdict(
    server: Server, then: Callable[[State], State]
) -> None:
    server.boot = "b9"
    state, _ = judge_boot(settle(OLD), boot="b9", outcome=Outcome.FAILED, why="libcuda1 is not held")
    write(server, state, Outcome.FAILED)
    assert server.live(60) == {"driver driver.gate"}
    write(server, then(state), None)
    assert server.live(120) == set()


def test_a_boot_that_is_not_judged_yet_is_nothing_at_first_and_unknown_later(server: Server) -> None:
    server.now = 20.0
    write(server, replace(settle(OLD), seen="the boot before"), Outcome.PASSED, boot="the boot before")
    assert server.live(600) == set()
    assert server.find() == ()
    server.live(600)
    (found,) = server.find()
    assert (found.code, found.status) == ("driver.gate", Verdict.UNKNOWN)
    assert "has not judged this boot" in found.reason


def test_a_boot_that_the_gate_could_not_look_at_is_unknown_at_once_and_says_why(server: Server) -> None:
    state, _ = judge_boot(settle(OLD), boot="b9", outcome=Outcome.UNKNOWN, why="the gate could not look: no set.json")
    write(server, state, Outcome.UNKNOWN)
    server.live(120)
    (found,) = server.find()
    assert (found.code, found.status) == ("driver.gate", Verdict.UNKNOWN)
    assert "no verdict on this boot: " in found.reason
    assert "no set.json" in found.reason


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stage": "mad", "current": "x"}'])
def test_a_state_that_cannot_be_read_is_unknown_and_named(server: Server, text: str) -> None:
    server.write(STATE, text)
    server.live(120)
    (found,) = server.find()
    assert (found.code, found.status) == ("driver.gate", Verdict.UNKNOWN)
    assert STATE in found.reason


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"says": "SAYS", "boot": "b", "outcome": "odd"}'])
def test_a_verdict_that_cannot_be_read_is_unknown_and_named(server: Server, text: str) -> None:
    state = settle(OLD)
    write(server, state, None)
    server.write(VERDICT, text.replace("SAYS", state.says))
    server.live(120)
    (found,) = server.find()
    assert (found.code, found.status) == ("driver.gate", Verdict.UNKNOWN)
    assert VERDICT in found.reason
