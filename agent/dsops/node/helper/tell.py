"""What happened, for the journal and for people: a kind in one word, the release it is about, and a sentence."""

from dataclasses import dataclass

from dsops.core.events import (
    Activate,
    Adopt,
    Aged,
    Clear,
    Confirm,
    Cool,
    Done,
    Event,
    Failed,
    Forget,
    Halt,
    Proven,
    Refuted,
    Restarted,
    Resumed,
    Rollback,
    Take,
    Unmark,
    Widen,
)
from dsops.core.lanes import SHARES
from dsops.core.node import is_called_off
from dsops.core.state import Move, NodeState, Step


@dataclass(frozen=True)
class Told:
    """One line of history."""

    event: str
    release: str
    says: str


@dataclass(frozen=True)
class Note:
    """Who asked, and what they gave as reason or as evidence."""

    who: str
    reason: str = ""


def tell(event: Event, before: NodeState, after: NodeState, *, note: Note) -> Told:
    """A transition in words. The release of a rollback is the one that is left."""
    because = f": {note.reason}" if note.reason else ""
    match event:
        case Activate():
            return Told("activate", event.release, f"{event.release} goes into {_tell_place(after.move)}{because}")
        case Widen():
            return Told("widen", event.release, f"{event.release} is to get {event.share} % of the traffic{because}")
        case Rollback():
            return _tell_rollback(event, before, after, because=because)
        case Done():
            return _tell_done(before, after)
        case Resumed():
            return _tell_resumed(before, after)
        case Proven():
            release = before.move.release if before.move else ""
            return Told("proven", release, f"{release} gave accepted answers{because}")
        case Refuted():
            release = before.move.release if before.move else ""
            return Told("refuted", release, f"{release} was refuted{because}{_tell_next(before, after)}")
        case Failed():
            release = before.move.release if before.move else ""
            what = f"{release} could not be started: {event.reason}"
            return Told("failed", release, f"{what}{_tell_next(before, after)}")
        case Aged():
            return _tell_aged(after)
        case Unmark():
            return Told("unmark", event.release, f"the bad mark of {event.release} was taken away{because}")
        case Confirm():
            return Told(
                "confirm", event.release, f"the bad mark of {event.release} stays until it is unmarked{because}"
            )
        case Forget():
            return Told("remove", event.release, f"{event.release} is removed from this node{because}")
        case Cool():
            return Told("cool", event.release, f"{event.release} leaves the hot tier, the cold one holds it{because}")
        case _:
            return _tell_rest(event, after, because=because)


def _tell_place(move: Move | None) -> str:
    """Where a release comes in, and how."""
    if move is None:
        return "a slot"
    first = ", once the other slot has stopped" if move.alone else ""
    share = f", for {move.share} % of the traffic" if move.share < max(SHARES) else ""
    return f"slot {move.slot}{first}{share}"


def _tell_next(before: NodeState, after: NodeState) -> str:
    """What follows from the end of a release that was to come; nothing where what serves just goes on."""
    was, move = before.move, after.move
    if move and move.step is Step.RETURN:
        return f"; the lanes lead back to {after.active.release if after.active else 'nothing'}"
    if was and was.alone and move:
        return f"; {move.release} starts again in slot {move.slot}"
    return f"; halted: {after.halted}" if after.halted and not before.halted else ""


def _tell_resumed(before: NodeState, after: NodeState) -> Told:
    was = before.move
    assert was
    if after.halted and not before.halted:
        return Told("halt", was.release, f"halted: {after.halted}")
    turns = after.move.turns if after.move else was.turns
    return Told("resume", was.release, f"{was.kind} of {was.release} goes on at step {was.step} (transition {turns})")


def _tell_rollback(event: Rollback, before: NodeState, after: NodeState, *, because: str) -> Told:
    was, move = before.move, after.move
    if was and is_called_off(was, event):
        name = f"the canary {was.release}" if was.step is Step.CANARY else f"the activation of {was.release}"
        what = f"{name} was called off{because}"
        return Told("refuted", was.release, f"{what}{_tell_next(before, after)}")
    left = before.active.release if before.active else ""
    to = move.release if move else "?"
    how = "which runs still" if move and move.step is Step.SWITCH else "which must load first"
    by = "dsops goes" if event.own else "back"
    return Told("rollback", left, f"{by} from {left} to {to}, {how}{because}")


def _tell_done(before: NodeState, after: NodeState) -> Told:
    move = before.move
    assert move
    if move.step is Step.START:
        return Told("started", move.release, f"slot {move.slot} starts with {move.release}")
    if after.halted and not before.halted:
        return Told("halt", move.release, f"halted: {after.halted}")
    if after.canary:
        return Told("canary", move.release, f"{move.share} % of the traffic go to {move.release} in slot {move.slot}")
    if move.step is Step.RETURN:
        active = before.active.release if before.active else "nothing"
        return Told("returned", move.release, f"all the traffic goes to {active} again")
    if move.step is Step.SWITCH:
        warm = f"; slot {after.warm} is kept warm" if after.warm and not after.move else ""
        return Told("switched", move.release, f"the traffic goes to {move.release} in slot {move.slot}{warm}")
    return Told("tidied", before.active.release if before.active else "", f"slot {move.stops} was stopped")


def _tell_aged(after: NodeState) -> Told:
    active = after.active
    assert active
    words = {"baked": "is past its bake window", "known_good": "counts as known good from now on"}
    return Told(active.stage.value, active.release, f"{active.release} {words.get(active.stage, 'has aged')}")


def _tell_rest(event: Event, after: NodeState, *, because: str) -> Told:
    release = after.active.release if after.active else ""
    match event:
        case Restarted():
            return Told("restart", release, f"the active slot is restarted{because}")
        case Halt():
            return Told("halt", release, f"halted{because}")
        case Clear():
            return Told("clear", release, f"a person lets dsops act again{because}")
        case Adopt(epoch) | Take(epoch):
            kind = "adopt" if isinstance(event, Adopt) else "epoch"
            return Told(kind, release, f"epoch {epoch.number} of {epoch.holder or 'nobody'}{because}")
        case _:
            raise AssertionError(event)
