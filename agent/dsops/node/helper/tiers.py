"""Moves releases between the hot and the cold tier: asked for, or by dsops itself when the hot one gets short."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from dsops.core.errors import DsopsError
from dsops.core.events import Cool
from dsops.core.node import find_hot, step
from dsops.core.state import NodeState
from dsops.core.tiers import SPARE, choose_old, render_seconds
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.desk import Desk
from dsops.node.helper.moves import OWN
from dsops.node.helper.signature import check_signature
from dsops.node.helper.tell import Note, Told
from dsops.node.store.cold import count_reserve
from dsops.node.store.releases import Detached, Own, sum_sizes
from dsops.node.store.tiers import Tiers
from dsops.node.store.turn import GaveWayError


def cool(desk: Desk, asked: Asked) -> Answer:
    release, note = asked.release, asked.get_note()
    if asked.request.get_flag("keep_hot"):
        keep_cold(desk, release, note=note)
        return {"release": release, "freed": 0}
    return {"release": release, "freed": cool_release(desk, release, note=note)}


def heat(desk: Desk, asked: Asked) -> Answer:
    release, note = asked.release, asked.get_note()
    if desk.releases.has(release) and not desk.releases.find_damage(release):
        return {"release": release, "bytes": 0, "seconds": 0.0}
    tiers = get_tiers(desk)
    tiers.cold.check()
    if tiers.cold.releases.has(release):
        make_room(desk, int(tiers.count_heat(release) * SPARE))
    began = time.monotonic()
    copied = heat_release(desk, release, note=note)
    return {"release": release, "bytes": copied, "seconds": round(time.monotonic() - began, 3)}


def get_tiers(desk: Desk) -> Tiers:
    """Raises DsopsError where there is no cold tier."""
    if desk.tiers is None:
        mend = "set store_cold in the inventory and deploy; without it `dsops node release remove ID` makes room"
        raise DsopsError("this node has no cold tier", where="store.toml: cold", mend=mend)
    return desk.tiers


def cool_release(desk: Desk, release: str, *, note: Note, own: bool = False) -> int:
    """The release leaves the hot tier once the cold one holds it, read back and hashed; bytes that came free.

    Raises DsopsError; nothing went from the hot tier then.
    """
    tiers = get_tiers(desk)
    tiers.cold.check()
    _check_cool(desk, release)
    away: list[Detached] = []

    def take_away(state: NodeState) -> None:  # noqa: ARG001 - the brain has decided
        away.append(desk.releases.detach(release))

    def leave() -> None:
        desk.moves.act(Cool(release, desk.now()), note=note, then=take_away)

    tiers.keep(release, own=own, then=leave)
    return sum(desk.releases.destroy(one, spare_wanted=True) for one in away)


def _check_cool(desk: Desk, release: str) -> None:
    """Refusals that must not come after an hour of copying."""
    tiers = get_tiers(desk)
    if not desk.releases.has(release) and tiers.cold.releases.has(release):
        raise DsopsError(f"{release} lies on the cold tier already", mend="nothing is to be done")
    desk.releases.get(release)
    desk.releases.check_closed(release)
    step(desk.moves.read()[0], Cool(release, desk.now()), desk.config.policy)


def keep_cold(desk: Desk, release: str, *, note: Note, own: bool = False) -> None:
    """The cold tier gets a copy; the release stays where it is."""
    get_tiers(desk).keep(release, own=own)
    told = Told("keep", release, f"the cold tier holds {release} as well{_because(note)}")
    desk.moves.note(told, note=note, then=_do_nothing)


def heat_release(desk: Desk, release: str, *, note: Note, own: bool = False) -> int:
    """The release lies on the hot tier from now on, proven by signature and hash; bytes that were copied."""

    def check(paper: Own) -> None:
        check_signature(paper.manifest, paper.signature, config=desk.config, run=desk.run)

    began = time.monotonic()
    copied = get_tiers(desk).heat(release, check=check, own=own)
    took = f"{copied / 1e9:.2f} GB in {render_seconds(time.monotonic() - began)}"
    told = Told("heat", release, f"{release} lies on the hot tier again, {took}{_because(note)}")
    desk.moves.note(told, note=note, then=_do_nothing)
    return copied


def make_room(desk: Desk, need: int) -> None:
    """Old releases go cold until `need` bytes are free, oldest first; none does where that would not be enough."""
    if desk.tiers is None or need <= desk.blobs.count_free():
        return
    if count_room(desk) < need:
        return
    for name in find_old(desk):
        if need <= desk.blobs.count_free():
            return
        try:
            cool_release(desk, name, note=Note(OWN.who, "room for what comes in"))
        except DsopsError as error:
            desk.hands.log(f"{name} does not go cold: {error}")


def count_room(desk: Desk) -> int:
    """Bytes that what comes in may take at most: those that are free, and what old releases leave that can go cold."""
    free = desk.blobs.count_free()
    if desk.tiers is None or desk.tiers.cold.find_absence():
        return free
    return free + count_gain(desk, find_old(desk))


def find_old(desk: Desk) -> tuple[str, ...]:
    """Releases on the hot tier that may go cold by themselves, in that order."""
    came = {one.release: one.since for one in desk.releases.find_all()}
    return choose_old(desk.moves.read()[0], came, at=desk.now())


def count_gain(desk: Desk, names: Sequence[str]) -> int:
    """Bytes that come free on the hot tier when all of these go."""
    links: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    for name in names:
        with suppress(DsopsError):
            found = desk.releases.get(name)
            links.update(entry.sha256 for entry in found.files.values())
            sizes |= sum_sizes(found)
    return sum(size for digest, size in sizes.items() if desk.blobs.count_links(digest) <= links[digest])


def tidy(desk: Desk) -> None:
    """What the tiers should hold, they hold afterwards, as far as it can be; what cannot be is logged.

    What must be hot is brought back; what is known good lies cold as well where the hot tier is a RAID0; old
    releases go cold when the reserve is short. Raises GaveWayError when a person wants to move one.
    """
    if desk.tiers is None:
        return
    desk.tiers.cold.open(at=desk.now())
    desk.releases.settle()
    state, _ = desk.moves.read()
    desk.tiers.cold.keep_good(state, at=desk.now())
    for release in sorted(find_hot(state, at=desk.now())):
        if not desk.releases.has(release) and desk.tiers.cold.is_whole(release):
            note = Note(OWN.who, "two releases that can serve are kept on the hot tier")
            _try(desk, release, partial(heat_release, desk, release, note=note, own=True))
    if desk.config.hot_is_raid0:
        _keep_good(desk, state)
    _keep_reserve(desk)


def _keep_good(desk: Desk, state: NodeState) -> None:
    assert desk.tiers
    active = (state.active.release,) if state.active else ()
    for release in dict.fromkeys((*active, *state.known_good)):
        if desk.releases.has(release) and not desk.tiers.cold.is_whole(release):
            note = Note(OWN.who, "the hot tier is a RAID0")
            _try(desk, release, partial(keep_cold, desk, release, note=note, own=True))


def _keep_reserve(desk: Desk) -> None:
    tried: set[str] = set()
    share = desk.config.hot_reserve
    while count_reserve(desk.config.root, share) < 0:
        release = next((name for name in find_old(desk) if name not in tried), None)
        if release is None:
            desk.hands.log(f"less than {share:.0%} of the hot tier is free, and no old release is left to go cold")
            return
        tried.add(release)
        note = Note(OWN.who, f"less than {share:.0%} of the hot tier was free")
        _try(desk, release, partial(cool_release, desk, release, note=note, own=True))


def _try(desk: Desk, release: str, move: partial[int] | partial[None]) -> None:
    """One that cannot be moved does not stop the others."""
    try:
        move()
    except GaveWayError:
        raise
    except DsopsError as error:
        desk.hands.log(f"{release} cannot be moved between the tiers: {error}")


def _because(note: Note) -> str:
    return f": {note.reason}" if note.reason else ""


def _do_nothing(state: NodeState) -> None:
    """A line of history, and nothing else."""
