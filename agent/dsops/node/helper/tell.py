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
    Rollback,
    Take,
    Unmark,
)
from dsops.core.state import Kind, NodeState, Step


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
            slot = after.move.slot if after.move else "?"
            return Told("activate", event.release, f"{event.release} goes into slot {slot}{because}")
        case Rollback():
            return _tell_rollback(event, before, after, because=because)
        case Done():
            return _tell_done(before, after)
        case Proven():
            release = before.move.release if before.move else ""
            return Told("proven", release, f"{release} gave accepted answers{because}")
        case Refuted():
            release = before.move.release if before.move else ""
            return Told("refuted", release, f"{release} was refuted{because}")
        case Failed():
            release = before.move.release if before.move else ""
            return Told("failed", release, f"{release} could not be started: {event.reason}")
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


def _tell_rollback(event: Rollback, before: NodeState, after: NodeState, *, because: str) -> Told:
    move = after.move
    if move and move.kind is Kind.ACTIVATE:
        return Told("refuted", move.release, f"the activation of {move.release} was called off{because}")
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
