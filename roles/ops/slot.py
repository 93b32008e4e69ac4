"""The Triton slot that has a node's traffic: its restart when what it reads has changed, which nobody must notice."""

import shlex
from collections.abc import Generator, Sequence
from typing import Any

from pyinfra import host
from pyinfra.api import operation

from roles.ops.changes import is_touched, tell
from roles.ops.files import LinkTarget
from roles.ops.health import Answers, render_wait
from roles.ops.units import UnitFact, find_unit_files, find_verb

DOOR = "/opt/dsops/venv/bin/dsops node"
SOCKET = "/run/dsops/gateway.sock"
LANE = "/var/lib/dsops/lanes/l50"
PORTS = {"a": 8100, "b": 8200}
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


def find_slot(target: str) -> str:
    """The slot that a lane's link leads to, empty when none does yet."""
    name = target.rpartition("/")[2]
    return name if name in PORTS else ""


@operation()
def slot(*, inputs: Sequence[str], seconds: int, drain_seconds: int = 60) -> Generator[Any, None, None]:
    """Makes the slot with the traffic run with what it reads now; run it serially, so that one node at a time is out.

    + inputs: what its unit reads when it starts (the release is not among them: that is the store's)
    + seconds: how long loading may take
    + drain_seconds: how long requests in flight may take to end before the restart
    """
    name = find_slot(host.get_fact(LinkTarget, path=LANE))
    if not name:
        host.noop("no slot has the traffic")
        return
    unit, ready = f"triton@{name}.service", f"http://127.0.0.1:{PORTS[name]}/v2/health/ready"
    verb = find_verb(host.get_fact(UnitFact, unit=unit, inputs=list(inputs)), reload=False)
    if verb or is_touched([*inputs, *find_unit_files(unit)]):
        tell("unit", unit, "drained, restarted, let in again")
    if verb is None and host.get_fact(Answers, url=ready):
        host.noop(f"slot {name} serves")
        return
    yield render_drain(drain_seconds)
    if verb:
        yield f"systemctl daemon-reload; systemctl enable --quiet {unit}"
        yield f"{DOOR} restart slot --who deploy --reason {shlex.quote('what it reads has changed')}"
    yield render_wait(ready, unit=unit, seconds=seconds)
    yield render_undrain()
