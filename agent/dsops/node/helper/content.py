"""The helper's verbs of content: what is missing, what comes in, what is here, what goes."""

from collections.abc import Callable
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.events import Forget
from dsops.core.state import NodeState
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.desk import Desk
from dsops.node.helper.request import Request
from dsops.node.helper.signature import check_signature
from dsops.node.store.releases import Detached, Passport, Summary
from dsops.node.store.tree import adopt_tree, remove_tree


def tell_missing(desk: Desk, asked: Asked) -> Answer:
    missing = desk.blobs.find_missing(asked.request.get_list("sums"))
    return {"missing": [{"sha256": one.sha256, "held": one.held} for one in missing]}


def receive(desk: Desk, asked: Asked) -> Answer:
    request = asked.request
    size, offset = request.get_number("size"), request.get_number("offset")
    held, whole = desk.blobs.receive(request.get_text("sha256"), size=size, offset=offset, read=asked.read)
    return {"held": held, "whole": whole}


def admit(desk: Desk, asked: Asked) -> Answer:
    request = asked.request
    manifest = request.get_text("manifest").encode()
    signature = request.find_text("signature").encode()
    signer = check_signature(manifest, signature, config=desk.config, run=desk.run)
    return _admit(desk, manifest, signature, passport=_find_passport(request)) | {"signer": signer}


def adopt(desk: Desk, asked: Asked) -> Answer:
    tree = Path(asked.request.get_text("path"))
    manifest, signature = adopt_tree(tree, root=desk.config.root, blobs=desk.blobs, check=_signed(desk))
    said = _admit(desk, manifest, signature, passport=None)
    remove_tree(tree, disk=desk.moves.disk)
    return said


def _signed(desk: Desk) -> Callable[[bytes, bytes], None]:
    def check(manifest: bytes, signature: bytes) -> None:
        check_signature(manifest, signature, config=desk.config, run=desk.run)

    return check


def _admit(desk: Desk, manifest: bytes, signature: bytes, *, passport: Passport | None) -> Answer:
    release, is_new = desk.releases.build(manifest, signature)
    for damage in desk.releases.repair():
        desk.hands.log(f"mended: {damage}")
    if passport:
        desk.releases.keep_passport(release, passport)
    return {"release": release, "new": is_new}


def _find_passport(request: Request) -> Passport | None:
    text = request.find_text("passport")
    return Passport(text, request.find_text("passport_signature")) if text else None


def remove(desk: Desk, asked: Asked) -> Answer:
    release = asked.release
    if not desk.releases.path(release).is_dir():
        raise DsopsError(f"{release} is not on this node", mend="`dsops node release list` shows what is")
    away: list[Detached] = []

    def take_away(state: NodeState) -> None:  # noqa: ARG001 - the brain has decided
        away.append(desk.releases.detach(release))

    desk.moves.act(Forget(release, desk.now()), note=asked.note, then=take_away)
    # Freeing a big release takes seconds: nobody must wait for that with a rollback.
    return {"release": release, "freed": sum(desk.releases.destroy(one) for one in away)}


def tell_releases(desk: Desk, asked: Asked) -> Answer:  # noqa: ARG001 - every verb's form
    state, _ = desk.moves.read()
    releases = [
        _describe(one, state, at=desk.now()) | {"damage": desk.releases.find_damage(one.release)}
        for one in desk.releases.find_all()
    ]
    return {"releases": releases, "damage": desk.hands.pointers.find_damage(state)}


def _describe(one: Summary, state: NodeState, *, at: float) -> Answer:
    """since: when it last got the traffic, or was put here."""
    bad = state.find_bad(one.release, at=at)
    active = state.active if state.active and state.active.release == one.release else None
    fallback = next((left for left in state.fallbacks if left.release == one.release), None)
    had = active or fallback
    return {
        "release": one.release,
        "model": one.model,
        "quantization": one.quantization,
        "engine": one.engine,
        "bytes": one.size,
        "state": "active" if active else "bad" if bad else "fallback" if fallback else "held",
        "slot": next((held.slot for held in state.slots if held.release == one.release), ""),
        "bad": bad.reason if bad else None,
        "passport": one.passport,
        "since": had.since if had else one.since,
    }
