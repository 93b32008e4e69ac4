"""A service that its socket starts: both as their files say, started by nobody but who asks."""

import shlex
from collections.abc import Generator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from roles.ops.changes import is_touched, tell
from roles.ops.units import UnitFact, UnitState, find_unit_files


@operation()
def socket_unit(unit_name: str, *, inputs: Sequence[str] = ()) -> Generator[Any, None, None]:
    """Makes the socket enabled and listening, and ends a service that still runs with something older.

    + unit_name: without a suffix
    + inputs: absolute paths that the service reads when it starts
    """
    socket = host.get_fact(UnitFact, unit=f"{unit_name}.socket", inputs=[])
    service = host.get_fact(UnitFact, unit=f"{unit_name}.service", inputs=list(inputs))
    quoted = shlex.quote(unit_name)
    tell_socket(unit_name, socket, service, inputs=inputs)
    if not socket.enabled:
        yield f"systemctl daemon-reload && systemctl enable --quiet {quoted}.socket"
    is_old = service.active and (service.stale or service.outdated)
    if socket.active and not socket.outdated and not service.outdated and not is_old:
        return
    # systemd refuses to start a socket whose service runs. What it was doing is journalled, and goes on by itself.
    stop = f"systemctl stop {quoted}.socket {quoted}.service"
    reset = f"systemctl reset-failed {quoted}.socket {quoted}.service 2>/dev/null"
    yield f"systemctl daemon-reload; {stop}; {reset}; systemctl start {quoted}.socket"


def tell_socket(unit_name: str, socket: UnitState, service: UnitState, *, inputs: Sequence[str]) -> None:
    """Tells what would happen to the two: also for what the operations before it would change."""
    files = [*find_unit_files(f"{unit_name}.socket"), *find_unit_files(f"{unit_name}.service")]
    is_old = service.active and (service.stale or is_touched(inputs))
    if socket.active and (socket.outdated or service.outdated or is_old or is_touched(files)):
        tell("unit", f"{unit_name}.socket", "restart")
    elif not socket.active or not socket.enabled:
        tell("unit", f"{unit_name}.socket", "start")
