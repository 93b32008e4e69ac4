"""A port of InfiniBand or RoCE counts what a good cable does not know."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.ib_port import NONE
from dsops.node.checks.host.judging import EVERY, find_absence, see_unread
from dsops.node.sources.links import IB_COUNTERS
from dsops.node.sources.unread import Unread

CODE = "ib.errors"
WITHIN = 600.0
HOUR = 3600.0


def look(scene: Scene) -> Iterator[Sight]:
    ports = scene.host.machine.ports
    for port in () if isinstance(ports, Unread) else ports:
        yield from _look_at(scene, port.name)


def _look_at(scene: Scene, port: str) -> Iterator[Sight]:
    """One sight a port: the first counter that is too quick; what cannot be read only where none is."""
    machine = scene.host.machine
    values = {name: machine.counters.grown(f"ib/{port}/{name}", WITHIN) for name in IB_COUNTERS}
    unread = [value for value in values.values() if isinstance(value, Unread)]
    known = {name: value * HOUR / WITHIN for name, value in values.items() if isinstance(value, int)}
    for name, rate in known.items():
        if rate > (limit := scene.limit(CODE, name)):
            said = f"{name} grows by {rate:.0f} an hour"
            yield Sight(CODE, f"ib {port}", Verdict.BAD, machine.sample, said, rate, limit)
            return
    if unread:
        yield see_unread(CODE, f"ib {port}", machine.sample, unread[0])
    elif known:
        yield Sight(CODE, f"ib {port}", Verdict.OK, machine.sample)


def needs(scene: Scene) -> str:
    """Whether its ports can be seen at all is what ib.port looks at."""
    ports = scene.host.machine.ports
    return find_absence(scene) or ("" if not isinstance(ports, Unread) and ports else NONE)


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY)
