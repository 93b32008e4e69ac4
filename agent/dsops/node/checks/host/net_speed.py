"""A network card runs slower than when the server was commissioned: a cable, a plug, or the other end."""

from collections.abc import Iterator, Mapping

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence
from dsops.node.sources.links import Link
from dsops.node.sources.unread import Unread

CODE = "net.speed"
KEY = "speed_mbps"


def look(scene: Scene) -> Iterator[Sight]:
    """A link that is down has no speed; net.link tells that."""
    for link in list_links(scene):
        yield from compare(
            CODE,
            f"net {link.name}",
            scene.host.machine.sample,
            link.speed,
            limit=scene.baseline[f"net {link.name}", KEY],
            at_least=True,
            says=lambda speed: f"runs at {speed:.0f} Mbit/s only",
        )


def list_links(scene: Scene) -> list[Link]:
    """Those whose speed somebody wrote down."""
    links = scene.host.machine.links
    return [] if isinstance(links, Unread) else [one for one in links if (f"net {one.name}", KEY) in scene.baseline]


def find_normal(scene: Scene) -> Mapping[tuple[str, str], float]:
    links = scene.host.machine.links
    if isinstance(links, Unread):
        return {}
    return {(f"net {one.name}", KEY): float(one.speed) for one in links if isinstance(one.speed, int)}


def needs(scene: Scene) -> str:
    absence = find_absence(scene, in_container=True)
    return absence or ("" if list_links(scene) else "the baseline names no speed of a network card (`dsops baseline`)")


CHECK = Check(CODE, (CODE,), look, needs=needs, every=EVERY, normal=find_normal)
