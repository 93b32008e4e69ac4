"""Breaks a server on purpose and mends it: the machine, its engine, its GPUs. `dsops lab up` starts a dead one."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab import base, cgroups, gpu_faults, gpus, keys, machine_faults, owner, server
from dsops.lab.cards import MOST, get_calls, list_profiles
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


@dataclass(frozen=True)
class Hit:
    """Who is to be broken, and the words behind the fault's name."""

    lab: Lab
    one: Server
    words: Sequence[str]
    gpu: int

    def get_gpus(self) -> Path:
        """The folder of its simulated GPUs' files."""
        if not self.one.gpus:
            raise DsopsError(f"{self.one.name} has no simulated GPUs", mend="a server with GPUs in `dsops lab status`")
        return self.lab.home(self.one).gpus


@dataclass(frozen=True)
class Fault:
    """says: in the list of faults. words: what stands behind its name; in brackets: may; with dots: more of them."""

    says: str
    do: Callable[[Hit], str]
    words: str = ""


def change_cards(hit: Hit) -> str:
    """Other cards, healthy and idle: what a server would have after a visit with a screwdriver."""
    folder = hit.get_gpus()
    many = machine_faults.get_number(hit.words[1:], hit.one.gpus, most=1000)
    gpus.reset(folder, hit.one, profile=hit.words[0], cards=many)
    return f"{many} x {gpus.read_gpu(folder, 0)['name']}"


def miss_call(hit: Hit) -> str:
    """An older library: processes that begin from now on do not find these functions in it."""
    hit.get_gpus()
    if strange := [word for word in hit.words if word not in get_calls()]:
        raise DsopsError(f"the library has no {strange[0]}", mend="a function such as nvmlDeviceGetRemappedRows")
    gpus.install(hit.lab, hit.one, without=tuple(hit.words))
    return f"its library lacks {', '.join(hit.words)}, for processes that begin from now on"


def break_gpu(name: str, hit: Hit) -> str:
    return gpu_faults.apply(hit.get_gpus(), name, hit.words, gpu=hit.gpu)


def tell_xids(hit: Hit) -> str:
    if hit.one.is_metal:  # a kernel of its own, and no simulated GPU
        return machine_faults.log_xids(hit.lab, hit.one, hit.words)
    return break_gpu("xid", hit)


def _plain(says: str, do: Callable[[Lab, Server], str]) -> Fault:
    return Fault(says, lambda hit: do(hit.lab, hit.one))


def _worded(says: str, do: Callable[[Lab, Server, Sequence[str]], str], words: str) -> Fault:
    return Fault(says, lambda hit: do(hit.lab, hit.one, hit.words), words)


FAULTS: dict[str, Fault] = {
    "mend": _plain("ends all that is below, on a server that runs", machine_faults.mend),
    "kill": _plain("as if the plug was pulled", kill),
    "freeze": _plain("it hangs: addresses answer, nothing is said", freeze),
    "thaw": _plain("ends freeze", thaw),
    "poweroff": _plain("a clean shutdown", power_off),
    "crash": _plain("its engine is killed", crash),
    "hang": _plain("its engine stands still", hang),
    "disk-full": _plain("no block of /var/lib/dsops is free", machine_faults.fill_disk),
    "disk-slow": _worded("so many MB/s", machine_faults.slow_disk, "[MB]"),
    "memory": _worded("all but so many MiB are taken", machine_faults.hog_memory, "[MIB]"),
    "nic-down": _plain("its cable is out", machine_faults.cut_cable),
    "partition": _worded("it and these servers, or all, do not reach each other", machine_faults.part, "[SERVER]..."),
    "clock": _worded("its clock jumps (guests only)", machine_faults.jump_clock, "[SECONDS]"),
    "log-flood": _worded("so many lines in its kernel's log (guests only)", machine_faults.flood_log, "[LINES]"),
    "cards": Fault(f"other GPUs: {', '.join(list_profiles())}; 1 to {MOST}", change_cards, "PROFILE [COUNT]"),
    "missing-call": Fault("an NVML without these functions", miss_call, "CALL..."),
    **{name: Fault(one.says, partial(break_gpu, name), one.words) for name, one in gpu_faults.FAULTS.items()},
    "xid": Fault(gpu_faults.FAULTS["xid"].says, tell_xids, gpu_faults.FAULTS["xid"].words),
}


def check_words(kind: str, words: Sequence[str]) -> None:
    """Raise when there are too few or too many of them."""
    wanted = FAULTS[kind].words.split()
    least = sum(not word.startswith("[") for word in wanted)
    most = len(wanted) if not wanted or "..." not in wanted[-1] else len(words)
    if not least <= len(words) <= most:
        usage = " ".join(["dsops lab fault NODE", kind, *wanted])
        raise DsopsError(f"{kind} with {len(words)} words behind it", mend=f"`{usage}`")


def render_list() -> str:
    """Every fault, a line each."""
    names = {name: f"{name} {one.words}".rstrip() for name, one in FAULTS.items()}
    width = max(map(len, names.values()))
    return "\n".join(f"{shown:{width}}  {FAULTS[name].says}" for name, shown in names.items())


def get_server(lab: Lab, name: str) -> Server:
    one = lab.find_server(name)
    if one is None:
        names = ", ".join(each.name for each in lab.everyone)
        raise DsopsError(f"the lab has no server {name!r}", mend=f"one of: {names}")
    return one


def fault(lab: Lab, name: str, kind: str, *, words: Sequence[str] = (), gpu: int = 0, checkout: str = "") -> str:
    """Do one fault to one server; what came of it, in words."""
    one = get_server(lab, name)
    check_words(kind, words)
    with owner.changing(lab, checkout=checkout):
        if not (find_parts(lab, name) if one.is_metal else find_leader(lab, name)):
            raise DsopsError(f"{name} is off", mend="start it: `dsops lab up`")
        return FAULTS[kind].do(Hit(lab, one, words, gpu))


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
