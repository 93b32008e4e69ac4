"""An upgrade of dsops goes over the servers in a known order, and stops at the first that does not come up with it."""

import logging
from collections.abc import Iterable
from typing import Any

import pytest
from pyinfra.api import Config, Host, Inventory, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.operation import add_op
from pyinfra.api.operations import run_ops
from pyinfra.operations import server

from roles.ops.order import in_order, order_servers
from roles.ops.upgrade import upgrade

LINK, NEW, OLD = "/opt/dsops/venv", "/opt/dsops/venvs/2", "/opt/dsops/venvs/1"
NAMES = ("lb1", "gpu1", "gpu2", "gpu3", "mon1")


def make_state(**said: dict[str, Any]) -> State:
    """A site whose servers have build 1 in use. said: server -> its answers that differ, by a part of the command."""
    servers: list[Any] = []
    for name in NAMES:
        answers = {f"readlink {LINK}": OLD} | said.get(name, {})
        servers.append((f"@fake/{name}", {"fake_delay": 0, "fake_delay_jitter": 0, "fake_responses": answers}))
    groups: Any = {kind: ([one for one in servers if kind in one[0]], {}) for kind in ("lb", "gpu", "mon")}
    state = State(Inventory((servers, {}), **groups), Config())  # type: ignore[no-untyped-call]
    state.check_for_changes = False
    for one in state.inventory:
        state.activate_host(one)
        one.connected = True
    order_servers(state)
    return state


def run(state: State) -> dict[str, list[str]]:
    """Upgrades, then does something more; server -> what was run there, the facts left out."""
    add_op(state, upgrade, path=LINK, version="2", name="upgrade", _serial=True)
    add_op(state, server.shell, commands=["write the new configuration"], name="next")
    run_ops(state)
    ran = {one.name.removeprefix("@fake/"): one.connector.executed_commands for one in state.inventory}  # type: ignore[attr-defined]
    return {name: [line for line in lines if "readlink" not in line] for name, lines in ran.items()}


BAD = {"python3 -I -": {"success": False, "stderr": "the new dsops was not proven"}}
DONE = {f"readlink {LINK}": [NEW, "proven"]}


def names(servers: Iterable[Host]) -> list[str]:
    return [one.name.removeprefix("@fake/") for one in servers]


def test_gpu_servers_come_first_and_the_rest_in_the_inventorys_order() -> None:
    state = make_state()
    assert names(in_order(state.inventory)) == ["gpu1", "gpu2", "gpu3", "lb1", "mon1"]
    assert names(state.inventory.get_active_hosts()) == ["gpu1", "gpu2", "gpu3", "lb1", "mon1"]


def test_a_server_that_failed_is_not_walked_any_more_and_the_order_stays() -> None:
    state = make_state()
    state.fail_hosts({state.inventory.get_host("@fake/gpu2")})
    assert names(state.inventory.get_active_hosts()) == ["gpu1", "gpu3", "lb1", "mon1"]


def test_every_server_is_turned_to_a_good_build_and_the_deploy_goes_on() -> None:
    ran = run(make_state())
    for lines in ran.values():
        assert f"python3 -I - {LINK} {NEW} < " in lines[0]
        assert "write the new configuration" in lines[1]


def test_nothing_is_run_where_the_build_is_in_use_and_proven() -> None:
    ran = run(make_state(**dict.fromkeys(NAMES, DONE)))
    assert all(len(lines) == 1 for lines in ran.values())


def test_a_build_that_is_in_use_but_was_not_proven_is_proven_now() -> None:
    ran = run(make_state(mon1={f"readlink {LINK}": NEW}))
    assert "python3 -I -" in ran["mon1"][0]


def test_a_bad_build_stops_at_the_first_server_and_nothing_more_is_written_anywhere() -> None:
    state = make_state(gpu1=BAD)
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run(state)
    ran = {one.name: one.connector.executed_commands for one in state.inventory}  # type: ignore[attr-defined]
    assert [name for name, lines in ran.items() if any("python3 -I" in line for line in lines)] == ["@fake/gpu1"]
    assert not [line for lines in ran.values() for line in lines if "configuration" in line]


def test_a_bad_build_lets_those_go_on_that_have_it_already() -> None:
    state = make_state(gpu1=BAD, mon1=DONE, lb1=DONE)
    ran = run(state)
    assert {one.name for one in state.active_hosts} == {"@fake/mon1", "@fake/lb1"}
    assert "write the new configuration" in ran["mon1"][0]
    assert ran["gpu2"] == ran["gpu3"] == []


def test_a_server_that_keeps_the_old_build_is_told_whose_fault_it_is(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("pyinfra").propagate = True
    run(make_state(gpu2=BAD))
    # gpu1 came before it and is well; lb1 is first in the inventory and failed too, but after it.
    why = "@fake/gpu2 did not come up with the new dsops; this server keeps the old one"
    told = [text for text in caplog.messages if "did not come up" in text]
    assert told == [f"[@fake/{name}] {why}" for name in ("gpu3", "lb1", "mon1")]


def test_a_server_that_cannot_say_what_it_runs_is_left_alone() -> None:
    state = make_state(gpu1={f"readlink {LINK}": {"success": False}}, **dict.fromkeys(NAMES[2:], DONE), lb1=DONE)
    ran = run(state)
    assert ran["gpu1"] == []
    assert {one.name for one in state.failed_hosts} == {"@fake/gpu1"}
