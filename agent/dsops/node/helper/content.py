"""The helper's verbs of content: what is missing, what comes in, what is here, what goes."""

from collections.abc import Callable
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.events import Forget
from dsops.core.release import release_id
from dsops.core.state import NodeState
from dsops.core.tiers import SPARE, Tier
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.desk import Desk
from dsops.node.helper.listing import find_missing
from dsops.node.helper.passport import check_brought, keep
from dsops.node.helper.signature import check_signature
from dsops.node.helper.tiers import count_room, make_room
from dsops.node.store.releases import Detached
from dsops.node.store.tiers import Tiers
from dsops.node.store.tree import adopt_tree, remove_tree
from dsops.node.store.turn import Moving


def tell_missing(desk: Desk, asked: Asked) -> Answer:
    missing = desk.blobs.find_missing(asked.request.get_list("sums"))
    told = [{"sha256": one.sha256, "held": one.held} for one in missing]
    return {"missing": told, "free": desk.blobs.count_free(), "room": count_room(desk)}


def receive(desk: Desk, asked: Asked) -> Answer:
    request = asked.request
    size, offset = request.get_number("size"), request.get_number("offset")
    make_room(desk, int((size - offset) * SPARE))
    held, whole = desk.blobs.receive(request.get_text("sha256"), size=size, offset=offset, read=asked.read)
    return {"held": held, "whole": whole}


def admit(desk: Desk, asked: Asked) -> Answer:
    request = asked.request
    manifest = request.get_text("manifest").encode()
    signature = request.find_text("signature").encode()
    signer = check_signature(manifest, signature, config=desk.config, run=desk.run)
    brought = check_brought(desk, request, release=release_id(manifest))
    said = _admit(desk, manifest, signature)
    keep(desk, brought, release=release_id(manifest))
    return said | {"signer": signer}


def adopt(desk: Desk, asked: Asked) -> Answer:
    tree = Path(asked.request.get_text("path"))
    manifest, signature = adopt_tree(tree, root=desk.config.root, blobs=desk.blobs, check=_signed(desk))
    said = _admit(desk, manifest, signature)
    remove_tree(tree, disk=desk.moves.disk)
    return said


def _signed(desk: Desk) -> Callable[[bytes, bytes], None]:
    def check(manifest: bytes, signature: bytes) -> None:
        check_signature(manifest, signature, config=desk.config, run=desk.run)

    return check


def _admit(desk: Desk, manifest: bytes, signature: bytes) -> Answer:
    release, is_new = desk.releases.build(manifest, signature)
    for damage in desk.releases.repair():
        desk.hands.log(f"mended: {damage}")
    return {"release": release, "new": is_new}


def remove(desk: Desk, asked: Asked) -> Answer:
    release = asked.release
    cold = _find_cold(desk, release)
    is_hot = desk.releases.path(release).is_dir()
    if not is_hot and not cold:
        raise DsopsError(f"{release} is not on this node", mend="`dsops node release list` shows what is")
    if cold is None:
        return {"release": release, "freed": _forget(desk, asked, is_hot=True)}
    with cold.turn.take(Moving(release, Tier.COLD, 0)):
        freed = _forget(desk, asked, is_hot=is_hot)
        # Not under the store's lock: nobody waits for a slow disk with a rollback.
        return {"release": release, "freed": freed + cold.cold.releases.destroy(cold.cold.releases.detach(release))}


def _forget(desk: Desk, asked: Asked, *, is_hot: bool) -> int:
    """Bytes that came free on the hot tier."""
    release = asked.release
    away: list[Detached] = []
    if is_hot:
        desk.releases.check_closed(release)

    def take_away(state: NodeState) -> None:  # noqa: ARG001 - the brain has decided
        if is_hot:
            away.append(desk.releases.detach(release))

    def make(state: NodeState) -> Forget:
        return Forget(release, desk.now(), find_missing(desk, state))

    desk.moves.act(make, note=asked.note, then=take_away)
    # Freeing a big release takes seconds: nobody must wait for that with a rollback.
    return sum(desk.releases.destroy(one) for one in away)


def _find_cold(desk: Desk, release: str) -> Tiers | None:
    """The tiers, when the cold one holds this release."""
    if desk.tiers is None or desk.tiers.cold.find_absence():
        return None
    return desk.tiers if desk.tiers.cold.releases.path(release).is_dir() else None
