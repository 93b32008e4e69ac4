"""What nodes are told, so that they come to their share or leave the release; again until a look shows it. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from dsops.core.node import NO_WAY_BACK
from dsops.core.rollout_events import Activate, Back, Drain, Effect, Undrain, Widen
from dsops.core.rollout_look import find_drain_words
from dsops.core.rollout_state import Part, Rollout, Stand
from dsops.core.spread import find_no_room, is_empty

# What a look did not show after so long is told again.
AGAIN_SECONDS = 30.0
REFUSES = "refuses: "


def bring(rollout: Rollout, targets: Mapping[str, int], *, at: float) -> tuple[Rollout, list[Effect]]:
    """Forward: each node to its share; those where two copies do not fit only as far as their pool can spare them."""
    effects: list[Effect] = []
    for node, share in targets.items():
        part = rollout.find_part(node)
        if part is None or not _can_be_told(part, at=at):
            continue
        told = _go(rollout, part, share, at=at)
        if told:
            rollout = _put(rollout, told[0])
            effects.append(told[1])
    return rollout, effects


def _can_be_told(part: Part, *, at: float) -> bool:
    """Nobody who is away, busy, drained by a person, stuck, or was told a moment ago."""
    is_there = not part.gone_at and not part.is_moving and not part.closed and not part.dropped
    return is_there and part.stand in (Stand.WAITS, Stand.COMES, Stand.HAS) and not _is_fresh(part, at=at)


def _is_fresh(part: Part, *, at: float) -> bool:
    """A clock that was set back makes no order fresh."""
    return bool(part.asked_at) and 0 <= at - part.asked_at < AGAIN_SECONDS


def _go(rollout: Rollout, part: Part, share: int, *, at: float) -> tuple[Part, Effect] | None:
    """The next order for one node on its way to its share; None when there is none now."""
    if part.share >= share:
        return None
    comes = _tell(part, Stand.COMES, "", wants=share, at=at)
    if part.share:
        return comes, Widen(part.node, rollout.release, share)
    is_fresh = is_empty(replace(part, wants=0))
    if not part.alone or is_fresh:
        return (comes, Activate(part.node, rollout.release, share)) if part.is_serving or is_fresh else None
    if part.is_drain_seen:
        return comes, Activate(part.node, rollout.release, share, alone=True)
    if not part.drained and find_no_room(rollout, part):
        return None
    return replace(comes, drained=True), Drain(part.node, f"{find_drain_words(rollout)} brings {rollout.release}")


def send_back(rollout: Rollout, *, at: float) -> tuple[Rollout, list[Effect]]:
    """Backward: every node that has the release, or was told it; first those that only turn lanes."""
    effects: list[Effect] = []
    for part in sorted(rollout.parts, key=lambda part: (part.alone, part.share == 100)):
        if not _has_to_leave(part):
            continue
        if part.stand is not Stand.LEAVES:
            part = replace(part, stand=Stand.LEAVES, reason=rollout.failed, asked_at=0.0, since=at)
            rollout = _put(rollout, part)
        is_told = _is_fresh(part, at=at) and (part.is_shut or not _has_no_way(part))
        if part.gone_at or is_told:
            continue
        told = _leave(rollout, part, at=at)
        if told:
            rollout = _put(rollout, told[0])
            effects.append(told[1])
    return rollout, effects


def _has_to_leave(part: Part) -> bool:
    if part.is_gone or part.is_other or part.stand is Stand.LEFT:
        return False
    return bool(part.wants or part.share)


def _leave(rollout: Rollout, part: Part, *, at: float) -> tuple[Part, Effect] | None:
    """Lanes turn at once. One that must load the old release again is drained first, when its pool can spare it."""
    back = _tell(part, Stand.LEAVES, part.reason, wants=part.wants, at=at)
    if _has_no_way(part) and (part.drained or not find_no_room(rollout, part)):
        words = f"{find_drain_words(rollout)} {rollout.release} must go, and there is nothing to go back to"
        return replace(back, drained=True, is_shut=True), Drain(part.node, words)
    must_load = part.alone and part.share == 100 and part.is_serving and not part.closed
    if must_load and not part.is_drain_seen:
        if not part.drained and find_no_room(rollout, part):
            return None
        return replace(back, drained=True), Drain(part.node, f"{find_drain_words(rollout)} goes back: {rollout.failed}")
    if not part.share and not part.is_moving:
        return None  # nothing to leave; it is watched for an order that comes late
    return back, Back(part.node, rollout.release, rollout.failed)


def _has_no_way(part: Part) -> bool:
    """It says that it cannot go back, as one that was empty before: then the way back is to let it go."""
    is_stuck = part.reason.startswith(REFUSES) and NO_WAY_BACK in part.reason
    return is_stuck and part.share == 100 and not part.closed


def open_doors(rollout: Rollout, *, at: float) -> list[Effect]:
    """Undrains what this rollout drained and that is done: it has its share, or it does not come any more."""
    return [
        Undrain(part.node)
        for part in rollout.parts
        if part.drained and not part.is_shut and not part.gone_at and not part.is_gone and not part.is_moving
        if _is_done(rollout, part, at=at)
    ]


def _is_done(rollout: Rollout, part: Part, *, at: float) -> bool:
    if part.stand in (Stand.LEFT, Stand.OUT) or part.dropped:
        return True
    if part.stand is Stand.LEAVES:
        return False
    return part.share >= 100 or (bool(rollout.hold) and not _is_fresh(part, at=at))


def _tell(part: Part, stand: Stand, reason: str, *, wants: int, at: float) -> Part:
    since = part.since if part.stand is stand and part.wants == wants else at
    return replace(part, stand=stand, reason=reason, wants=wants, asked_at=at, since=since)


def _put(rollout: Rollout, part: Part) -> Rollout:
    return replace(rollout, parts=tuple(part if one.node == part.node else one for one in rollout.parts))
