"""An InfiniBand or RoCE port that was up is not, or is slower than when the server was commissioned."""

from collections.abc import Iterator, Mapping

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence, see_unread
from dsops.node.checks.host.net_link import KEY as UP_KEY
from dsops.node.checks.host.net_link import find_wanted
from dsops.node.sources.links import ACTIVE, Port
from dsops.node.sources.unread import Unread

DOWN, SLOW = "ib.port", "ib.rate"
RATE_KEY = "rate_gbps"
NONE = "no InfiniBand or RoCE here"


def look(scene: Scene) -> Iterator[Sight]:
    machine = scene.host.machine
    if isinstance(machine.ports, Unread):
        yield see_unread(DOWN, "ib", machine.sample, machine.ports)
        return
    ports = {f"ib {port.name}": port for port in machine.ports}
    for entity in sorted(find_wanted(scene, "ib ")):
        yield _look_at(ports.get(entity), entity, machine.sample)
    for entity, port in ports.items():
        if port.state == ACTIVE and (limit := scene.baseline.get((entity, RATE_KEY))) is not None:
            yield from compare(
                SLOW,
                entity,
                machine.sample,
                port.rate,
                limit=limit,
                at_least=True,
                says=lambda rate: f"runs at {rate:g} Gbit/s only",
            )


def _look_at(port: Port | None, entity: str, sample: str) -> Sight:
    if port is None:
        return Sight(DOWN, entity, Verdict.BAD, sample, "the port is gone")
    if isinstance(port.state, Unread):
        return see_unread(DOWN, entity, sample, port.state)
    physical = "" if isinstance(port.physical, Unread) else f", {port.physical}"
    reason = "" if port.state == ACTIVE else f"the port is {port.state}{physical}"
    return Sight(DOWN, entity, Verdict.BAD if reason else Verdict.OK, sample, reason)


def find_normal(scene: Scene) -> Mapping[tuple[str, str], float]:
    ports = scene.host.machine.ports
    active = [] if isinstance(ports, Unread) else [port for port in ports if port.state == ACTIVE]
    rates = {(f"ib {port.name}", RATE_KEY): port.rate for port in active if not isinstance(port.rate, Unread)}
    return {(f"ib {port.name}", UP_KEY): 1.0 for port in active} | rates


def needs(scene: Scene) -> str:
    ports = scene.host.machine.ports
    is_there = isinstance(ports, Unread) or ports or find_wanted(scene, "ib ")
    return find_absence(scene) or ("" if is_there else NONE)


CHECK = Check(DOWN, (DOWN, SLOW), look, needs=needs, every=EVERY, normal=find_normal)
