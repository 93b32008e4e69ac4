"""What a look at all nodes changes in a rollout: how far each node is, what it counted, and what fell. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dsops.core.judge import Evidence
from dsops.core.rollout_events import Fell, Look, Seen
from dsops.core.rollout_state import Counted, Part, Rollout, Stand
from dsops.core.samples import ReleaseTally, Samples, Tally, add, subtract_release
from dsops.core.stats import compare_shares

# Between two looks at most so much counts towards a bake: a clock that jumps, or a control host that was away.
GAP_SECONDS = 300.0
# An order that was told may still be under way for so long. One that went back refuses it: the release is marked there.
LATE_SECONDS = 180.0
# Nodes that are lost with the release, against those without: rarer by chance means that the release did it.
LOST_CHANCE = 0.02


@dataclass(frozen=True)
class Looked:
    """The rollout after a look, the seconds that went by, and the nodes that gave the release up by themselves."""

    rollout: Rollout
    seconds: float
    falls: tuple[Fell, ...]


def take_look(rollout: Rollout, look: Look) -> Looked:
    """Takes over what was seen; decides nothing."""
    seen = {one.node: one for one in look.nodes}
    known = {part.node for part in rollout.parts}
    new = tuple(Part(one.node, pool=one.pool) for one in look.nodes if one.node not in known)
    gap = look.at - rollout.seen_at if rollout.seen_at else 0.0
    seconds = min(max(0.0, gap), GAP_SECONDS)
    falls: list[Fell] = []
    parts = []
    for part in (*rollout.parts, *new):
        part = _shift(part, gap - seconds)
        after = _see(part, seen.get(part.node), rollout, at=look.at)
        if reason := _find_fall(part, seen.get(part.node), rollout.release):
            falls.append(Fell(look.at, rollout.release, part.node, reason))
            after = _stand(after, Stand.LEFT, reason, at=look.at)
        parts.append(after)
    counted = _count(rollout.release, parts, (*rollout.parts, *new), seen, at=look.at)
    return Looked(replace(rollout, parts=tuple(counted), seen_at=look.at), seconds, tuple(falls))


def _shift(part: Part, seconds: float) -> Part:
    """Time that nobody watched, or that a clock jumped, counts for nothing: not for patience, not for silence."""
    if not seconds:
        return part
    since, asked_at, gone_at, heard_at = (
        at + seconds if at else at for at in (part.since, part.asked_at, part.gone_at, part.heard_at)
    )
    return replace(part, since=since, asked_at=asked_at, gone_at=gone_at, heard_at=heard_at)


def _see(part: Part, seen: Seen | None, rollout: Rollout, *, at: float) -> Part:
    if seen is None:
        return _stand(replace(part, is_gone=True, is_serving=False), Stand.OUT, "gone from the inventory", at=at)
    if not seen.is_reachable:
        silent = _change(part, is_gone=False, is_serving=False, gone_at=min(part.gone_at or at, at))
        return _see_silence(silent, rollout, at=at)
    waits = part.stand in (Stand.WAITS, Stand.OUT) and not part.wants
    is_ours = find_drain_words(rollout) in seen.drained
    is_under_way = part.drained and not seen.drained and not part.is_drain_seen
    part = _change(
        part,
        is_gone=False,
        pool=seen.pool,
        gone_at=0.0,
        alone=seen.alone if waits else part.alone,
        before=seen.active if waits and seen.active != rollout.release else part.before,
        share=seen.share_of(rollout.release),
        # One that was given up as unreachable, and is back with the release, takes part again.
        dropped=part.dropped and not (part.gone_at and seen.share_of(rollout.release)),
        closed="" if is_ours else seen.drained,
        drained=is_ours or is_under_way,
        is_drain_seen=is_ours,
        # What comes after the drain is told at once: the node is out meanwhile.
        asked_at=0.0 if is_ours and not part.is_drain_seen else part.asked_at,
        is_serving=seen.is_serving,
        is_moving=seen.is_moving,
    )
    return _see_stand(part, seen, rollout, at=at)


def _see_silence(part: Part, rollout: Rollout, *, at: float) -> Part:
    """Unreachable counts as failed (B3), once that is no hiccup and when it may have the release."""
    minutes = (at - part.gone_at) / 60
    has_it = part.stand in (Stand.COMES, Stand.HAS)
    if has_it and minutes >= rollout.rules.lost_minutes:
        return _stand(part, Stand.LOST, f"unreachable for {rollout.rules.lost_minutes:g} min", at=at)
    return part


def _see_stand(part: Part, seen: Seen, rollout: Rollout, *, at: float) -> Part:
    if part.stand is Stand.LEAVES:
        may_come = abs(at - part.since) < LATE_SECONDS and not part.had and rollout.release not in seen.bad
        is_back = not part.share and not part.is_moving and not may_come
        if part.is_shut and part.is_drain_seen:
            return _stand(part, Stand.LEFT, "drained, for it has nothing to go back to", at=at)
        return _stand(part, Stand.LEFT, rollout.failed, at=at) if is_back else part
    if part.stand is Stand.LEFT or part.dropped or part.is_other:
        return part
    if part.wants:
        return _see_way(part, rollout, at=at)
    if part.share:
        return _stand(replace(part, wants=part.share, had=True), Stand.HAS, "", at=at)  # a person brought it there
    if reason := _find_out(part, seen, rollout.release):
        return _stand(part, Stand.OUT, reason, at=at)
    return _stand(part, Stand.WAITS, "", at=at)


def _find_out(part: Part, seen: Seen, release: str) -> str:
    if part.closed:
        return f"drained: {part.closed}"
    if seen.halted:
        return f"halted: {seen.halted}"
    return f"{release} is marked bad there" if release in seen.bad else ""


def _see_way(part: Part, rollout: Rollout, *, at: float) -> Part:
    """One that was told a share: whether it is there."""
    part = _change(part, had=part.had or part.share > 0)
    if part.share >= part.wants and not part.is_moving and not part.drained:
        return _stand(part, Stand.HAS, "", at=at)
    if part.stand is Stand.STUCK:
        return part
    if part.stand is not Stand.COMES:
        return _stand(part, Stand.COMES, "", at=at)
    if at - part.since >= rollout.rules.patience_minutes * 60:
        reason = f"not at {part.wants} % within {rollout.rules.patience_minutes:g} min"
        return _stand(part, Stand.STUCK, reason, at=at)
    return part


def _find_fall(before: Part, seen: Seen | None, release: str) -> str:
    """Why this is a node that had the release, or tried it, and gave it up by itself; "" when it is not."""
    is_told = before.wants and before.stand not in (Stand.LEAVES, Stand.LEFT)
    if seen is None or not seen.is_reachable or not is_told or seen.share_of(release):
        return ""
    if release in seen.bad:
        says = "it went back by itself" if before.had else "it did not give accepted answers there"
        why = seen.find_bad(release)
        return f"{says}: {why}" if why else says
    return "it does not have it any more" if before.had and not seen.is_moving else ""


def _stand(part: Part, stand: Stand, reason: str, *, at: float) -> Part:
    since = part.since if part.stand is stand else at
    return _change(part, stand=stand, reason=reason, since=since)


def _change(part: Part, **fields: object) -> Part:
    """The same one when nothing changes: mostly nothing does, at many nodes and every look."""
    if all(getattr(part, name) == value for name, value in fields.items()):
        return part
    return replace(part, **fields)  # type: ignore[arg-type]


def find_drain_words(rollout: Rollout) -> str:
    """What the reason of this rollout's own drains begins with; any other is somebody else's."""
    return f"rollout {rollout.id}:"


# --- counters ---------------------------------------------------------------------------------------------------


def _count(
    release: str, parts: Sequence[Part], before: Sequence[Part], seen: dict[str, Seen], *, at: float
) -> list[Part]:
    """What came of both releases since the last look. Times only count while the active one has requests too."""
    has_old = is_served(parts)
    counted = []
    for was, part in zip(before, parts, strict=True):
        look = seen.get(part.node)
        samples = look.samples if look and look.is_reachable else None
        counted.append(_count_part(release, was, part, samples, times=has_old, at=at) if samples else part)
    return counted


def _count_part(release: str, was: Part, part: Part, samples: Samples, *, times: bool, at: float) -> Part:
    """What was counted before anybody looked is not of this step."""
    last = {one.release: one for one in was.last}
    new, old = part.new, part.old
    for one in samples.releases:
        if one.release not in (release, part.before):
            continue
        delta = subtract_release(one, last.get(one.release))
        last[one.release] = one
        if was.is_counted and one.release == release:
            new = _add(new, delta, times=times)
        elif was.is_counted:
            old = _add(old, delta)
    mine = tuple(one for one in last.values() if one.release in (release, part.before))
    return replace(part, is_counted=True, heard_at=at, last=mine, new=new, old=old)


def _add(counted: Counted, delta: ReleaseTally, *, times: bool = True) -> Counted:
    real, synthetic = (one if times else _strip(one) for one in (delta.real, delta.synthetic))
    return Counted(add(counted.real, real), add(counted.synthetic, synthetic))


def _strip(tally: Tally) -> Tally:
    return replace(tally, ttft=(), per_token=(), ttft_seconds=0.0, per_token_seconds=0.0)


def add_counted(several: Sequence[Counted]) -> Counted:
    """All together."""
    real = synthetic = Tally()
    for one in several:
        real, synthetic = add(real, one.real), add(synthetic, one.synthetic)
    return Counted(real, synthetic)


def is_served(parts: Sequence[Part]) -> bool:
    """Whether some node still serves the active release: only then its times and the new one's are of the same time."""
    return any(part.share < 100 and part.before and not part.gone_at and not part.is_gone for part in parts)


def find_evidence(rollout: Rollout) -> Evidence:
    """What the gates compare in the step under way."""
    having = [part for part in rollout.members if part.share or part.new.requests]
    pools = {part.pool for part in having}
    return Evidence(
        new=add_counted([part.new for part in having]),
        beside=add_counted([part.old for part in having if part.share < 100]),
        wide=add_counted([part.old for part in rollout.parts if part.pool in pools]),
        history=rollout.history,
        known=rollout.known,
        is_sampled=any(0 < part.share < 100 for part in having),
        is_served=is_served(rollout.parts),
    )


def find_known(parts: Sequence[Part], look: Look) -> Counted:
    """All that the active releases' counters say before a rollout begins."""
    before = {part.node: part.before for part in parts}
    tallies = [
        Counted(one.real, one.synthetic)
        for seen in look.nodes
        if seen.samples and seen.is_reachable
        for one in seen.samples.releases
        if one.release == before.get(seen.node)
    ]
    return add_counted(tallies)


def find_lost(rollout: Rollout) -> tuple[list[Part], bool]:
    """(nodes that are lost with the release, whether it is hardly chance that just these are unreachable)."""
    lost = [part for part in rollout.parts if part.stand is Stand.LOST]
    those_with = [part for part in rollout.parts if part.wants and not part.is_gone and not part.dropped]
    without = [part for part in rollout.parts if not part.wants and not part.is_gone]
    silent = sum(1 for part in without if part.gone_at)
    p = compare_shares(len(lost), len(those_with), silent, len(without)) if lost else 1.0
    return lost, p <= LOST_CHANCE
