"""A Triton slot of a node: its release, its restart, and the traffic that must not notice."""

import shlex
from collections.abc import Generator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from roles.ops.files import LinkTarget
from roles.ops.health import Answers, render_wait
from roles.ops.units import UnitFact, find_verb, render_start

DOOR = "/opt/dsops/venv/bin/dsops node"
SOCKET = "/run/dsops/gateway.sock"
REASON = "deploy: restarts a slot"


def render_drain(seconds: int) -> str:
    """Takes the node out of traffic and waits for what is in flight; leaves an operator's own drain as it is."""
    drained = f'{DOOR} status --json 2>/dev/null | grep -q \'"drained": "\''
    return (
        f"[ ! -S {SOCKET} ] || {drained} || "
        f"{DOOR} drain --who deploy --wait {seconds} --reason {shlex.quote(REASON)} >/dev/null || [ $? = 3 ]"
    )


def render_undrain() -> str:
    """Lets traffic in again if it was us who took it away, in this run or in one that was cut."""
    ours = f"{DOOR} status --json 2>/dev/null | grep -q {shlex.quote(REASON)}"
    return f"[ ! -S {SOCKET} ] || ! {ours} || {DOOR} undrain --who deploy >/dev/null"


@operation()
def slot(
    path: str, target: str, *, unit: str, inputs: Sequence[str], ready: str, seconds: int, drain_seconds: int = 60
) -> Generator[Any, None, None]:
    """Makes a slot serve the release that `target` names; run it serially, so that one node at a time is out.

    + path: the slot's link
    + target: what it must point to
    + unit: the slot's unit
    + inputs: what else the unit reads when it starts
    + ready: an URL that answers 200 once the release is loaded
    + seconds: how long loading may take
    + drain_seconds: how long requests in flight may take to end before the restart
    """
    points = host.get_fact(LinkTarget, path=path)
    verb = find_verb(host.get_fact(UnitFact, unit=unit, inputs=[path, *inputs]), reload=False)
    moved = points != target
    if not moved and verb is None and host.get_fact(Answers, url=ready):
        host.noop(f"{path} serves {target}")
        return
    new = shlex.quote(f"{path}.dsops-new")
    yield render_drain(drain_seconds)
    if moved:
        yield f"ln -sfn {shlex.quote(target)} {new} && mv -fT {new} {shlex.quote(path)}"
    if moved or verb:
        yield f"systemctl enable --quiet {shlex.quote(unit)}"
        yield render_start(unit, verb="restart", seconds=90)
    yield render_wait(ready, unit=unit, seconds=seconds)
    yield render_undrain()
