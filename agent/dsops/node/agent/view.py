"""Pure: what the watch and the store say of a node, as it is shown in its status."""

from dataclasses import dataclass, replace

from dsops.core.blame import Ruling
from dsops.core.looks import Code
from dsops.core.state import Stage
from dsops.core.status import (
    BadMark,
    Blame,
    Canary,
    Condition,
    Finding,
    NodeStatus,
    Proof,
    ReleaseState,
    Verdict,
)
from dsops.core.verdict import Strikes
from dsops.node.agent.situation import describe_move, find_fallback, find_last_rollback
from dsops.node.sources.store import StoreReading

_STAGES = {
    Stage.BAKING: ReleaseState.BAKING,
    Stage.BAKED: ReleaseState.ACTIVE,
    Stage.KNOWN_GOOD: ReleaseState.KNOWN_GOOD,
}
_HANGS = (Code.HUNG, Code.TIMEOUT_STALLED)


@dataclass(frozen=True)
class View:
    """What a watch shows. baking_until, failing_since: Unix seconds."""

    verdict: Verdict = Verdict.UNKNOWN
    strikes: int = 0
    failing_since: float | None = None
    baking_until: float | None = None
    proof: Proof | None = None
    canary: Canary | None = None
    findings: tuple[Finding, ...] = ()


NOTHING = View()


def judge_release(store: StoreReading, release: str, *, at: float) -> tuple[ReleaseState, str]:
    """Where the release that has the traffic stands. Owner: the store; without a journal it is just active."""
    if not release:
        return ReleaseState.NONE, "no release is active"
    if store.state is None:
        return ReleaseState.UNKNOWN, store.reason
    if bad := store.state.find_bad(release, at=at):
        return ReleaseState.BAD, bad.reason
    active = store.state.active
    if active is None or active.release != release:
        return ReleaseState.ACTIVE, ""
    return _STAGES[active.stage], ""


def add_store(status: NodeStatus, store: StoreReading, view: View, *, damaged: tuple[str, ...] = ()) -> NodeStatus:
    """The status with what the journal says. damaged: releases that do not lie there as they were built."""
    state = store.state
    if state is None:
        return status
    at = status.observed_at
    baking = status.release_state is ReleaseState.BAKING
    return replace(
        status,
        move=describe_move(state),
        baking_until=view.baking_until if baking else None,
        known_good=state.known_good,
        fallback=find_fallback(state, at=at, damaged=damaged),
        bad=tuple(BadMark(b.release, b.reason, b.until) for b in state.bad if b.until is None or b.until > at),
        halted=state.halted,
        last_rollback_at=find_last_rollback(state),
    )


def find_findings(
    *,
    node: str,
    slot: str,
    strikes: Strikes,
    verdict: Verdict,
    ruling: Ruling | None,
    ejected: str | None,
    halted: str,
    next_step: str = "",
    canary: Canary | None = None,
) -> tuple[Finding, ...]:
    """A verdict, an ejection, a canary in doubt and a halt, as findings among the others."""
    found = []
    why = f"`dsops why {node}`"
    blame = ruling.blame if ruling else Blame.UNKNOWN
    if verdict is Verdict.BAD:
        said = _describe_bad(strikes) + (f"; next: {next_step}" if next_step else "")
        condition = find_condition(strikes)
        found.append(Finding(f"slot {slot}", f"release.{condition}", Verdict.BAD, blame, condition, said, why))
    elif ejected is not None:
        condition = find_condition(strikes) if strikes.bad else Condition.DEGRADED
        said = f"taken out of traffic: {ejected}"
        found.append(Finding(f"slot {slot}", "slot.ejected", Verdict.UNKNOWN, blame, condition, said, why))
    elif strikes.bad:
        said = _describe_bad(strikes)
        found.append(Finding(f"slot {slot}", "slot.suspect", Verdict.UNKNOWN, blame, Condition.DEGRADED, said, why))
    if canary and canary.reason:
        says = f"{canary.release} at {canary.share} %: {canary.reason}"
        entity = f"canary {canary.slot}"
        found.append(Finding(entity, "canary.suspect", Verdict.UNKNOWN, Blame.UNKNOWN, Condition.DEGRADED, says, why))
    if halted:
        mend = f"{why}; then `dsops node clear --reason ...` there"
        said = f"dsops does nothing by itself any more: {halted}"
        found.append(Finding("node", "node.halted", Verdict.UNKNOWN, Blame.UNKNOWN, Condition.DEGRADED, said, mend))
    return tuple(found)


def find_condition(strikes: Strikes) -> Condition:
    """What the BAD looks make of the node."""
    codes = {look.code for look in (*strikes.bad, *strikes.deaths)}
    if Code.WRONG in codes:
        return Condition.WRONG
    return Condition.HUNG if codes & set(_HANGS) and Code.CRASHED not in codes else Condition.FAILED


def _describe_bad(strikes: Strikes) -> str:
    last = (*strikes.deaths, *strikes.bad)
    return max(last, key=lambda look: look.at).says if last else "it failed"
