"""Breaks a server on purpose: kill, freeze, thaw, power off, or its engine alone. `dsops lab up` mends the server's."""

import time
from collections.abc import Callable

from dsops.core.errors import DsopsError
from dsops.lab import base, cgroups, keys, owner, server
from dsops.lab.metal import guest
from dsops.lab.place import Lab, Server
from dsops.lab.processes import find_leader, find_parts
from dsops.lab.run import run, succeeds


def kill(lab: Lab, one: Server) -> str:
    """As if the plug was pulled: nothing on it ends cleanly, its disk stays as it is."""
    if one.is_metal:
        return f"off; {guest.stop(lab, one)} machine, its disks keep what had reached them"
    return f"{server.stop(lab, one)} processes killed"


def freeze(lab: Lab, one: Server) -> str:
    """As if it hung: addresses answer pings, connections open or wait, nothing is ever said."""
    cgroups.freeze(lab, one)
    return f"frozen; `dsops lab fault {one.name} thaw` ends it"


def thaw(lab: Lab, one: Server) -> str:
    cgroups.thaw(lab, one)
    return "runs again"


def power_off(lab: Lab, one: Server, *, patience: float = 90) -> str:
    """A clean shutdown, asked for from inside."""
    run(keys.ssh_argv(lab, one, "systemctl poweroff"), timeout=15, check=False)
    until = time.monotonic() + patience
    while find_parts(lab, one.name):
        if time.monotonic() > until:
            raise DsopsError("does not power off", where=one.name, mend=f"`dsops lab fault {one.name} kill`")
        time.sleep(0.1)
    (guest if one.is_metal else server).stop(lab, one)  # what it leaves
    return "off"


def crash(lab: Lab, one: Server) -> str:
    """The engine's processes are gone at once, as after a fault of its own."""
    _signal_engine(lab, one, "KILL")
    return f"its engine is dead; `dsops why {one.name}` tells what the node does about it"


def hang(lab: Lab, one: Server) -> str:
    """The engine stands still: its doors take connections and never answer."""
    _signal_engine(lab, one, "STOP")
    return f"its engine stands still; `dsops why {one.name}` tells what the node does about it"


def _signal_engine(lab: Lab, one: Server, name: str) -> None:
    slot = "$(basename $(readlink /var/lib/dsops/lanes/l50))"  # the one that has the traffic
    command = f"systemctl is-active -q triton@{slot} && systemctl kill --signal={name} triton@{slot}"
    if not succeeds(keys.ssh_argv(lab, one, command), timeout=15):
        raise DsopsError("no engine runs here", where=one.name, mend="`dsops deploy`, or one of gpu1, gpu2, gpu3")


FAULTS: dict[str, Callable[[Lab, Server], str]] = {
    "kill": kill,
    "freeze": freeze,
    "thaw": thaw,
    "poweroff": power_off,
    "crash": crash,
    "hang": hang,
}


def get_server(lab: Lab, name: str) -> Server:
    one = lab.find_server(name)
    if one is None:
        names = ", ".join(each.name for each in lab.everyone)
        raise DsopsError(f"the lab has no server {name!r}", mend=f"one of: {names}")
    return one


def fault(lab: Lab, name: str, kind: str, *, checkout: str = "") -> str:
    """Do one fault to one server; what came of it, in words."""
    one = get_server(lab, name)
    with owner.changing(lab, checkout=checkout):
        if not (find_parts(lab, name) if one.is_metal else find_leader(lab, name)):
            raise DsopsError(f"{name} is off", mend="start it: `dsops lab up`")
        return FAULTS[kind](lab, one)


def start(lab: Lab, name: str, *, checkout: str = "") -> str:
    """Start one server again, as `dsops lab up` does for all; systemd's word for its state."""
    one = get_server(lab, name)
    root = base.find_base(lab)
    if one.is_metal:
        return _start_guest(lab, one, checkout=checkout)
    with owner.changing(lab, checkout=checkout):
        if root is None or not lab.home(one).prepared.exists():
            raise DsopsError(f"{name} was never made", mend="make the lab: `dsops lab up`")
        server.ensure_prepared(lab, one, root)
        server.ensure_started(lab, one)
        return server.wait_ready(lab, one)


def _start_guest(lab: Lab, one: Server, *, checkout: str) -> str:
    with owner.changing(lab, checkout=checkout):
        if not lab.home(one).prepared.exists():
            raise DsopsError(f"{one.name} was never made", mend="make the guests: `dsops lab up --metal`")
        guest.ensure_started(lab, one)
        return guest.wait_ready(lab, one)
