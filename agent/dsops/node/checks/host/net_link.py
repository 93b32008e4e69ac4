"""A network card that was up is down, gone, or comes and goes."""

from collections.abc import Iterator, Mapping

from dsops.core.checks import Sight
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.host.judging import EVERY, compare, find_absence, see_unread
from dsops.node.sources.links import UP, Link
from dsops.node.sources.unread import Unread

DOWN, FLAPS = "net.link", "net.flaps"
KEY = "up"
WITHIN = 600.0


def look(scene: Scene) -> Iterator[Sight]:
    """Cards that never were up are nobody's fault: not each has a cable."""
    machine = scene.host.machine
    if isinstance(machine.links, Unread):
        yield see_unread(DOWN, "net", machine.sample, machine.links)
        return
    links = {f"net {link.name}": link for link in machine.links}
    for entity in sorted(find_wanted(scene, "net ")):
        yield _look_at(links.get(entity), entity, machine.sample)
    for name in links:
        yield from compare(
            FLAPS,
            name,
            machine.sample,
            machine.counters.grown(f"net/{name.partition(' ')[2]}/carrier_changes", WITHIN),
            limit=scene.limit(FLAPS, "changes"),
            says=lambda changes: f"lost and found its carrier: {changes:.0f} changes within 10 min",
        )


def _look_at(link: Link | None, entity: str, sample: str) -> Sight:
    if link is None:
        return Sight(DOWN, entity, Verdict.BAD, sample, "the card is gone")
    if isinstance(link.state, Unread):
        return see_unread(DOWN, entity, sample, link.state)
    reason = "" if link.state == UP else f"the link is {link.state}"
    return Sight(DOWN, entity, Verdict.BAD if reason else Verdict.OK, sample, reason)


def find_wanted(scene: Scene, kind: str) -> set[str]:
    """Entities that were up: by the baseline, or since the agent began."""
    frozen = {entity for (entity, key), value in scene.baseline.items() if key == KEY and value > 0}
    return {entity for entity in frozen | scene.host.machine.seen_up if entity.startswith(kind)}


def find_normal(scene: Scene) -> Mapping[tuple[str, str], float]:
    links = scene.host.machine.links
    return {} if isinstance(links, Unread) else {(f"net {one.name}", KEY): 1.0 for one in links if one.state == UP}


def needs(scene: Scene) -> str:
    links = scene.host.machine.links
    if isinstance(links, Unread) or links or find_wanted(scene, "net "):
        return find_absence(scene, in_container=True)
    return find_absence(scene, in_container=True) or "no network card of its own"


CHECK = Check(DOWN, (DOWN, FLAPS), look, needs=needs, every=EVERY, normal=find_normal)
