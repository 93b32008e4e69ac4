"""What only makes it impossible to tell how a node is: nothing of it may ever lead to an act."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from dsops.node.sources.gpus import Lost, Reading, Sweep
from dsops.node.sources.unread import Unread

from tests.node.checks.gpu_bed import HEALTHY, make_reading
from tests.sim.days.node import Node
from tests.sim.days.sights import get_host

BROKEN = RuntimeError("Unknown Error")
# What NVML may answer and dsops does not know.
ODD_CODE = 999
READS = ("temperature", "recovery_action", "remap_pending", "ecc_uncorrected", "nvlinks_active", "pcie_width")
XID = "NVRM: Xid (PCI:0000:3b:00): {}, pid=1, it happened"


@dataclass(frozen=True)
class Kind:
    """begin: makes it so; `Node.mend` ends it. is_seen: through the checks, which cost time to play."""

    name: str
    begin: Callable[[Node, Random], object]
    is_seen: bool = False


def behave(mode: str) -> Callable[[Node, Random], object]:
    def begin(node: Node, random: Random) -> None:
        node.engines[node.lane].mode = mode

    return begin


def jump_clock(node: Node, random: Random) -> None:
    node.skew += random.choice([-3600.0, -50.0, -3.0, 3.0, 50.0, 3600.0])


def restart_agent(node: Node, random: Random) -> None:
    node.restarts = node.watch.restarts
    node.begin()


def lose_peers(node: Node, random: Random) -> None:
    node.peers = ()


def stop_reading(what: str) -> Callable[[Node, Random], object]:
    return lambda node, random: node.unread.add(what)


def break_values(node: Node, random: Random) -> None:
    node.sights.change(reading=make_reading(dict.fromkeys(READS, BROKEN), gpus=(0, 1)))


def break_sweep(sweep: Sweep) -> Callable[[Node, Random], object]:
    return lambda node, random: node.sights.change(reading=Reading(sweep, reason="it does not answer"))


def answer_oddly(node: Node, random: Random) -> None:
    lost = Lost(0, "GPU 0: Unknown Error", ODD_CODE)
    node.sights.change(reading=replace(HEALTHY, gpus=HEALTHY.gpus[1:], lost=(lost,)))


def say_odd_xid(node: Node, random: Random) -> None:
    node.alarm(XID.format(ODD_CODE))


def flood_log(node: Node, random: Random) -> None:
    node.sights.lose(500)


def close_log(node: Node, random: Random) -> None:
    node.sights.go_blind("the kernel's log: Operation not permitted")


def hang_host(node: Node, random: Random) -> None:
    host = get_host()
    machine, storage = replace(host.machine, reason="/proc hangs"), replace(host.storage, reason="a disk hangs")
    node.sights.change(host=replace(host, machine=machine, storage=storage))


def deny_disks(node: Node, random: Random) -> None:
    host = get_host()
    places = tuple(replace(one, is_readonly=Unread("denied"), space=Unread("denied")) for one in host.storage.places)
    node.sights.change(host=replace(host, storage=replace(host.storage, places=places)))


KINDS = (
    Kind("answers come slowly", behave("slow")),
    Kind("no answer in time, and the engine moves", behave("queued")),
    Kind("probes are put off (429)", behave("busy")),
    Kind("no answer in time, and no metrics", behave("untold")),
    Kind("the clock jumps", jump_clock),
    Kind("the agent is started afresh", restart_agent),
    Kind("the peers are silent", lose_peers),
    Kind("the journal cannot be read", stop_reading("journal"), is_seen=True),
    Kind("the golden prompts cannot be read", stop_reading("prompts"), is_seen=True),
    Kind("systemd does not answer", stop_reading("systemd"), is_seen=True),
    Kind("the store's disk does not answer", stop_reading("disk"), is_seen=True),
    Kind("NVML: values cannot be read", break_values, is_seen=True),
    Kind("NVML: the sweep hangs", break_sweep(Sweep.HUNG), is_seen=True),
    Kind("NVML: the sweep fails", break_sweep(Sweep.ERROR), is_seen=True),
    Kind("NVML: its reader died", break_sweep(Sweep.DEAD), is_seen=True),
    Kind("NVML: a GPU answers with an unknown code", answer_oddly, is_seen=True),
    Kind("an Xid that nobody knows", say_odd_xid, is_seen=True),
    Kind("the kernel's log has a gap", flood_log, is_seen=True),
    Kind("the kernel's log cannot be read", close_log, is_seen=True),
    Kind("/proc and the disks hang", hang_host, is_seen=True),
    Kind("the file systems cannot be looked at", deny_disks, is_seen=True),
)
PLAIN = tuple(kind for kind in KINDS if not kind.is_seen)
