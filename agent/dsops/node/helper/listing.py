"""The helper's list of releases: where each lies, what state it is in, and how soon it could serve."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from dsops.core.errors import DsopsError
from dsops.core.node import find_target
from dsops.core.passport import parse_passport
from dsops.core.state import Active, Bad, Kind, NodeState
from dsops.core.tiers import COLD_BYTES_PER_SECOND, ColdError, Start, Tier, Way, render_seconds
from dsops.node.helper.asked import Answer, Asked
from dsops.node.helper.certificate import tell_certificate
from dsops.node.helper.desk import Desk
from dsops.node.helper.memory import read_memory
from dsops.node.helper.passport import tell_passports
from dsops.node.store.releases import Passport, Summary


@dataclass(frozen=True)
class Cold:
    """What lies on the cold tier. damage: release -> what is wrong with it; load: seconds; reason: why none is told."""

    releases: Mapping[str, Summary]
    damage: Mapping[str, str]
    load: Mapping[str, float]
    copy: Mapping[str, int]
    reason: str = ""
    free: int | None = None
    good: tuple[str, ...] = ()
    passports: Mapping[str, tuple[Passport, ...]] = field(default_factory=dict)


NONE = Cold({}, {}, {}, {})


def tell_releases(desk: Desk, asked: Asked) -> Answer:  # noqa: ARG001 - every verb's form
    state, _ = desk.moves.read()
    cold = look_cold(desk)
    hot = {one.release: one for one in desk.releases.find_all()}
    back = find_back(desk, state, cold)
    releases = [_describe(desk, one, state, cold=cold, back=back) for one in hot.values()]
    releases += [
        _describe(desk, one, state, cold=cold, back=back) for name, one in cold.releases.items() if name not in hot
    ]
    damage = desk.hands.pointers.find_damage(state)
    said = {"cold": _tell_tier(desk, cold), "memory": _tell_memory(desk), "passport": desk.config.passport.value}
    return {"releases": releases, "damage": damage, "certificate": tell_certificate(desk)} | said


def _tell_memory(desk: Desk) -> Answer:
    """Bytes that something new may take; nothing where the kernel does not say."""
    try:
        memory = read_memory(desk.meminfo)
    except DsopsError:
        return {}
    return {"free": memory.available, "total": memory.total}


def look_cold(desk: Desk) -> Cold:
    """Waits for the disk only so long."""
    if desk.tiers is None:
        return NONE
    if absence := desk.tiers.cold.find_absence():
        return Cold({}, {}, {}, {}, reason=absence)
    try:
        return desk.cold_look.ask(lambda: _look_cold(desk))
    except (DsopsError, OSError) as error:
        return Cold({}, {}, {}, {}, reason=str(error))


def _look_cold(desk: Desk) -> Cold:
    assert desk.tiers
    tiers, releases = desk.tiers, desk.tiers.cold.releases
    if not (tiers.cold.root / "releases").is_dir():
        return NONE
    found = {one.release: one for one in releases.find_all()}
    damage = {name: releases.find_damage(name) for name in found}
    whole = [name for name in found if not damage[name]]
    passports = {name: releases.find_passports(name) for name in found}
    return Cold(
        found,
        damage,
        load={name: find_load(passports[name], releases.get(name).probe.load_seconds) for name in whole},
        copy={name: tiers.count_heat(name) for name in whole},
        free=tiers.cold.blobs.count_free(),
        good=tiers.cold.find_good(),
        passports=passports,
    )


def find_load(papers: Sequence[Passport], bound: float) -> float:
    """Seconds of loading: what the newest passport measured, else the manifest's bound."""
    found = []
    for paper in papers:
        with suppress(DsopsError):
            found.append(parse_passport(paper.text.encode(), where=paper.name))
    newest = max(found, key=lambda one: one.made_at, default=None)
    return float(bound) if newest is None or newest.load_seconds is None else newest.load_seconds


def find_start(desk: Desk, release: str, state: NodeState, *, cold: Cold) -> Start | None:
    """How it would come to serve; None when it does, or when nobody could say."""
    if state.active and state.active.release == release:
        return None
    rate = desk.tiers.rate.bytes_per_second if desk.tiers else COLD_BYTES_PER_SECOND
    try:
        found = desk.releases.get(release)
    except DsopsError:
        load = cold.load.get(release)
        return Start(Way.COLD, load, cold.copy.get(release, 0), rate) if load is not None else None
    load = find_load(desk.releases.find_passports(release), found.probe.load_seconds)
    slots = tuple(held.slot for held in state.slots if held.release == release)
    is_warm = bool(slots) and bool(desk.hands.find_warm(slots, seconds=0.0))
    return Start(Way.WARM if is_warm else Way.HOT, load)


def find_back(desk: Desk, state: NodeState, cold: Cold) -> str:
    """What a person's rollback would go to, wherever it lies; "" when nothing, or when it only calls a move off."""
    if state.active is None or (state.move and state.move.kind is Kind.ACTIVATE):
        return ""
    for missing in (find_missing(desk, state), find_nowhere(desk, state, cold)):
        try:
            return find_target(state, at=desk.now(), missing=missing)
        except DsopsError:
            continue
    return ""


def find_missing(desk: Desk, state: NodeState) -> tuple[str, ...]:
    """Fallbacks that no slot could serve. One that is damaged counts as missing only while there is a whole one."""
    names = [one.release for one in state.fallbacks]
    unusable = tuple(name for name in names if not desk.releases.is_usable(name))
    damaged = tuple(name for name in names if desk.releases.find_damage(name))
    is_one_whole = any(name not in damaged and not state.find_bad(name, at=desk.now()) for name in names)
    return damaged if is_one_whole else unusable


def find_nowhere(desk: Desk, state: NodeState, cold: Cold) -> tuple[str, ...]:
    """Fallbacks that no slot could serve, and that are not whole on the cold tier either."""
    names = [one.release for one in state.fallbacks]
    return tuple(name for name in names if not desk.releases.is_usable(name) and name not in cold.load)


def tell_cold(desk: Desk, what: str, release: str, *, cold: Cold) -> ColdError:
    """A refusal with how to bring the release, and how long that takes."""
    assert desk.tiers
    start = Start(Way.COLD, cold.load[release], cold.copy[release], desk.tiers.rate.bytes_per_second)
    mend = f"`dsops node release heat {release} --reason ...` (about {render_seconds(start.copy_seconds)}), then again"
    return ColdError(what, release=release, mend=mend)


def _describe(desk: Desk, one: Summary, state: NodeState, *, cold: Cold, back: str) -> Answer:
    """since: when it last got the traffic, or was put here. seconds: until it could serve; way: how it would come.

    share: percent of the traffic that it has.
    """
    at = desk.now()
    bad = state.find_bad(one.release, at=at)
    active = state.active if state.active and state.active.release == one.release else None
    fallback = next((left for left in state.fallbacks if left.release == one.release), None)
    had = active or fallback
    share = state.canary.share if state.canary else 0
    is_canary = state.canary is not None and state.canary.release == one.release
    start = find_start(desk, one.release, state, cold=cold)
    is_hot, cold_damage = desk.releases.has(one.release), cold.damage.get(one.release, "")
    return {
        "release": one.release,
        "model": one.model,
        "quantization": one.quantization,
        "engine": one.engine,
        "bytes": one.size,
        "state": _name_state(active=active, is_canary=is_canary, bad=bad, fallback=fallback),
        "share": 100 - share if active else share if is_canary else 0,
        "slot": next((held.slot for held in state.slots if held.release == one.release), ""),
        "bad": bad.reason if bad else None,
        "passport": one.passport,
        "passports": tell_passports(desk.releases.find_passports(one.release) or cold.passports.get(one.release, ())),
        "since": had.since if had else one.since,
        "tier": find_tier(is_hot=is_hot, is_cold=one.release in cold.releases and not (is_hot and cold_damage)),
        "way": start.way if start else "",
        "seconds": round(start.seconds, 1) if start else None,
        "copy_seconds": round(start.copy_seconds, 1) if start else None,
        "back": one.release == back,
        "damage": desk.releases.find_damage(one.release) if is_hot else cold_damage,
        "cold_damage": cold_damage,
    }


def _name_state(*, active: Active | None, is_canary: bool, bad: Bad | None, fallback: Active | None) -> str:
    if active:
        return "active"
    if is_canary:
        return "canary"
    return "bad" if bad else "fallback" if fallback else "held"


def find_tier(*, is_hot: bool, is_cold: bool) -> Tier:
    """Where it lies."""
    if is_hot:
        return Tier.BOTH if is_cold else Tier.HOT
    return Tier.COLD


def _tell_tier(desk: Desk, cold: Cold) -> Answer | None:
    """The tier itself: whether it is there, how much is free, how fast it is read, what is being copied."""
    if desk.tiers is None:
        return None
    moving = desk.tiers.turn.moving
    return {
        "root": str(desk.tiers.cold.root),
        "reason": cold.reason,
        "free": cold.free,
        "bytes_per_second": desk.tiers.rate.bytes_per_second,
        "measured": desk.tiers.rate.is_measured,
        "good": list(cold.good),
        "moving": vars(moving) if moving else None,
    }
