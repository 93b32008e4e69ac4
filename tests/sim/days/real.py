"""What is really wrong with a node, and what dsops must do about each."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dsops.core.status import Blame
from dsops.node.sources.gpus import Lost

from tests.node.checks.gpu_bed import HEALTHY, Changes, make_reading
from tests.sim.days.node import Act, Node
from tests.sim.days.sights import get_host
from tests.sim.days.unknown import XID

AWAY, RESTART, GATEWAY, BACK = "eject", "restart slot", "restart gateway", "rollback"
LOST = 15
# A release on trial has had the traffic for so long when it fails.
TRIAL_SECONDS = 20.0


@dataclass(frozen=True)
class Real:
    """acts: what must be done, in the order of the first of each, and nothing else.

    code: what must be found, "" where nothing is. blame: of the ruling; None: nobody is to be blamed.
    """

    name: str
    begin: Callable[[Node], object]
    acts: tuple[str, ...]
    blame: Blame | None
    code: str = ""
    seconds: float = 60.0


def say(*numbers: int, mode: str = "", ends: bool = False) -> Callable[[Node], object]:
    """Xids; and the engine behaves so, whoever starts it, or ends."""

    def begin(node: Node) -> None:
        node.alarm(*(XID.format(number) for number in numbers))
        if mode:
            fail(mode)(node)
        if ends:
            node.kill(node.lane, status=6)

    return begin


def read(changes: Changes) -> Callable[[Node], object]:
    return lambda node: node.sights.change(reading=make_reading(changes))


def lose_gpu(node: Node) -> None:
    lost = Lost(0, "GPU 0: GPU is lost", LOST)
    node.sights.change(reading=replace(HEALTHY, gpus=HEALTHY.gpus[1:], lost=(lost,)))


def stop_writing(node: Node) -> None:
    host = get_host()
    places = tuple(replace(one, is_readonly=True) for one in host.storage.places)
    node.sights.change(host=replace(host, storage=replace(host.storage, places=places)))


def fail(mode: str, *, lasting: bool = True) -> Callable[[Node], object]:
    """lasting: after each start too."""

    def begin(node: Node) -> None:
        engine = node.engines[node.lane]
        engine.mode = mode
        if lasting:
            node.modes[engine.release] = mode

    return begin


def end_engine(*, times: int) -> Callable[[Node], object]:
    """By a signal of its own; systemd starts it again."""

    def begin(node: Node) -> None:
        end(node, node.engines[node.lane].release, times)

    def end(node: Node, release: str, left: int) -> None:
        engine = node.engines[node.lane]
        if not left or engine.release != release:
            return
        if engine.pid:
            node.kill(node.lane, status=11)
        node.at(node.now + 8.0, lambda: end(node, release, left - 1))

    return begin


def wedge_gateway(node: Node) -> None:
    node.gateway_is_wedged = True


def bring(then: Callable[[Node], object]) -> Callable[[Node], object]:
    """A new release gets the traffic, and then."""

    def begin(node: Node) -> None:
        node.bring_release()
        node.at(node.now + TRIAL_SECONDS, lambda: fails(node))

    def fails(node: Node) -> None:
        then(node)

    return begin


REALS = (
    Real("Xid 79: a GPU left the bus", say(79), (AWAY,), Blame.HARDWARE, "xid.79"),
    Real("Xid 48, and the engine ends", say(48, ends=True), (AWAY,), Blame.HARDWARE, "xid.48"),
    Real("Xid 94: contained, the engine ends", say(94, ends=True), (AWAY,), None, "xid.94"),
    Real("Xid 119, and the engine hangs", say(119, mode="hung"), (AWAY,), Blame.HARDWARE, "xid.119"),
    Real("Xid 74 on an NVLink", say(74), (AWAY,), Blame.FABRIC, "xid.74"),
    Real("a GPU is lost, without an Xid", lose_gpu, (AWAY,), Blame.HARDWARE, "gpu.lost"),
    Real("no row is left to remap", read({"remap_failed": 1.0}), (AWAY,), Blame.HARDWARE, "gpu.remap_failed"),
    Real("an NVLink is down", read({"nvlinks_active": 17.0}), (AWAY,), Blame.FABRIC, "nvlink.down", 100.0),
    Real("the disks are read-only", stop_writing, (AWAY,), Blame.STORAGE, "storage.readonly"),
    Real("a row waits to be remapped", read({"remap_pending": 1.0}), (), None, "gpu.remap_pending"),
    Real("a GPU is too hot", read({"temperature": 95.0}), (), None, "gpu.hot"),
    Real("baked, wrong answers from now on", fail("wrong"), (AWAY, RESTART, BACK), Blame.RELEASE, seconds=120.0),
    Real("baked, hangs from now on", fail("hung"), (AWAY, RESTART, BACK), Blame.RELEASE, seconds=180.0),
    Real("baked, hangs until it is restarted", fail("hung", lasting=False), (AWAY, RESTART), Blame.UNKNOWN),
    Real("baked, the engine ends once", end_engine(times=1), (AWAY,), None),
    Real("baked, the engine ends again and again", end_engine(times=6), (AWAY, BACK), Blame.RELEASE),
    Real("on trial, wrong answers", bring(fail("wrong")), (AWAY, BACK), Blame.RELEASE, seconds=90.0),
    Real("on trial, hangs", bring(fail("hung")), (AWAY, BACK), Blame.RELEASE, seconds=90.0),
    Real("on trial, ends again and again", bring(end_engine(times=6)), (AWAY, BACK), Blame.RELEASE, seconds=90.0),
    Real("on trial, Xid 119, and hangs", bring(say(119, mode="hung")), (AWAY,), Blame.HARDWARE, "xid.119", 90.0),
    Real("the gateway hangs", wedge_gateway, (AWAY, GATEWAY), Blame.DSOPS),
)


def find_fault(real: Real, acts: list[Act], codes: set[str], blames: set[Blame]) -> str:
    """What dsops did otherwise than it must, "" when nothing. codes, blames: all that were found meanwhile."""
    done = tuple(dict.fromkeys(act.what for act in acts))
    if done != real.acts:
        return f"{real.name}: done {', '.join(done) or 'nothing'}; must be {', '.join(real.acts) or 'nothing'}"
    if real.code and real.code not in codes:
        return f"{real.name}: {real.code} was not found"
    if real.blame and real.blame not in blames:
        return f"{real.name}: blamed {', '.join(sorted(blames)) or 'nobody'}; must be {real.blame}"
    return ""
