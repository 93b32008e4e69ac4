"""A network card receives or sends garbage, or drops what it should pass on."""

from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence
from dsops.node.sources.links import DROPS, ERRORS, Link
from dsops.node.sources.unread import Unread

BROKEN, DROPPED = "net.errors", "net.drops"
WITHIN = 120.0


def look(scene: Scene) -> Iterator[Sight]:
    links = scene.host.machine.links
    for link in () if isinstance(links, Unread) else links:
        yield from _look_at(scene, link, BROKEN, ERRORS, "errors")
        yield from _look_at(scene, link, DROPPED, DROPS, "dropped packets")


def _look_at(scene: Scene, link: Link, code: str, names: tuple[str, ...], what: str) -> Iterator[Sight]:
    machine = scene.host.machine
    yield from compare(
        code,
        f"net {link.name}",
        machine.sample,
        add([machine.counters.rate(f"net/{link.name}/{name}", WITHIN) for name in names]),
        limit=scene.limit(code, "per_second"),
        says=lambda rate: f"{rate:.1f} {what} a second",
    )


def add(rates: list[float | Unread | None]) -> float | Unread | None:
    """Their sum; what one of them is when that is no number."""
    total = 0.0
    for rate in rates:
        if rate is None or isinstance(rate, Unread):
            return rate
        total += rate
    return total


def needs(scene: Scene) -> str:
    """What counts is the card's own; which links there are net.link looks at."""
    links = scene.host.machine.links
    absence = find_absence(scene, in_container=True)
    return absence or ("" if not isinstance(links, Unread) and links else "no network card of its own")


CHECK = Check(BROKEN, (BROKEN, DROPPED), look, needs=needs, every=EVERY)
