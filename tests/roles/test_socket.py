"""A service behind its socket: ended only when it runs with something older, and never started by a deploy."""

from typing import Any

import pytest
from pyinfra.context import ctx_host

from roles.helper.socket import socket_unit
from roles.ops.units import UnitState
from tests.roles.here import Here

WELL = {"active": True, "enabled": True, "refused": False, "stale": False, "outdated": False}
IDLE = WELL | {"active": False, "enabled": False}


def ask(socket: dict[str, bool], service: dict[str, bool]) -> list[str]:
    """The commands for a socket and a service in these states."""
    states = {"x.socket": UnitState(**socket), "x.service": UnitState(**service)}

    class Server(Here):
        def get_fact(self, kind: Any, **arguments: Any) -> Any:
            return states[arguments["unit"]]

    with ctx_host.use(Server()):
        return [str(command) for command in socket_unit._inner(unit_name="x", inputs=["/etc/x"])]


@pytest.mark.parametrize("service", [WELL, IDLE, IDLE | {"stale": True}])
def test_a_socket_that_listens_and_a_service_that_is_fresh_are_left_alone(service: dict[str, bool]) -> None:
    assert ask(WELL, service) == []


@pytest.mark.parametrize(
    ("socket", "service"),
    [
        (WELL | {"active": False}, IDLE),
        (WELL | {"outdated": True}, WELL),
        (WELL, WELL | {"stale": True}),
        (WELL, IDLE | {"outdated": True}),
    ],
)
def test_what_is_old_or_down_is_stopped_and_only_the_socket_started(
    socket: dict[str, bool], service: dict[str, bool]
) -> None:
    (command,) = ask(socket, service)
    assert command.startswith("systemctl daemon-reload; systemctl stop x.socket x.service;")
    assert command.endswith("systemctl start x.socket")


def test_a_disabled_socket_is_enabled() -> None:
    assert ask(WELL | {"enabled": False}, IDLE) == ["systemctl daemon-reload && systemctl enable --quiet x.socket"]
