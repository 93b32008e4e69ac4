"""Pure: what is known at the moment of a decision, as the questions of blame and remedy want it."""

from contextlib import suppress
from dataclasses import dataclass

from dsops.core.blame import Evidence, Peer, Ruling
from dsops.core.errors import DsopsError
from dsops.core.looks import Death
from dsops.core.node import find_target
from dsops.core.remedy import Situation
from dsops.core.state import Kind, Move, NodeState, Policy, Stage, Step
from dsops.core.verdict import Strikes
from dsops.node.agent.events import Now, Seen

DAY = 86400.0
HOUR = 3600.0
# A gateway that was restarted so recently, and fails again, is not mended by restarting it. Later the budget counts.
GATEWAY_MEMORY_SECONDS = 120.0
# A jump of the clock so shortly before the first BAD may be why.
JUMP_SECONDS = 30.0


@dataclass(frozen=True)
class Surroundings:
    """What surrounds a release, summed up by the helper, and since when (Unix seconds); "" = nobody has said yet."""

    value: str = ""
    since: float = 0.0

    def find_change(self, state: NodeState) -> float | None:
        """Since when they are not those in which the active release became known good; None: they are, or unknown."""
        good = state.active.environment if state.active else ""
        return self.since if good and self.value and self.value != good else None


@dataclass(frozen=True)
class Facts:
    """slot_restarted, gateway_restarted: Unix seconds of dsops' own last restart of it, None = none that counts."""

    now: Now
    began: Now
    settings_hold: float
    policy: Policy
    seen: Seen
    strikes: Strikes
    deaths: tuple[Death, ...] = ()
    peers: tuple[Peer, ...] = ()
    peers_asked: int = 0
    slot_restarted: float | None = None
    gateway_restarted: float | None = None
    jumped_at: float | None = None
    surroundings: Surroundings = Surroundings()

    @property
    def state(self) -> NodeState:
        return self.seen.store or NodeState()

    @property
    def first_bad(self) -> float | None:
        """When the first BAD came that counts, in ticks."""
        times = [look.at for look in (*self.strikes.bad, *self.strikes.deaths)]
        return min(times, default=None)


def find_evidence(facts: Facts) -> Evidence:
    """Whom it may be."""
    first, unit = facts.first_bad, facts.seen.unit
    return Evidence(
        at=facts.now.wall,
        strikes=facts.strikes,
        release=facts.seen.release,
        baking=is_baking(facts.state),
        restarted=facts.slot_restarted is not None,
        stopped=unit.active in ("inactive", "deactivating") and unit.result in ("", "success"),
        clock_jumped=first is not None and facts.jumped_at is not None and facts.jumped_at > first - JUMP_SECONDS,
        deaths=facts.deaths,
        findings=facts.seen.findings,
        peers=facts.peers,
        peers_asked=facts.peers_asked,
        last_rollback_at=find_last_rollback(facts.state),
        changed_at=facts.surroundings.find_change(facts.state),
    )


def find_situation(facts: Facts, evidence: Evidence, ruling: Ruling) -> Situation:
    """What may be done."""
    state, wall = facts.state, facts.now.wall
    gateway_age = None if facts.gateway_restarted is None else wall - facts.gateway_restarted
    return Situation(
        verdict=facts.strikes.find_verdict(facts.now.ticks),
        evidence=evidence,
        ruling=ruling,
        target=find_fallback(state, at=wall),
        rollbacks_left=facts.policy.rollbacks_per_day - count_since(state.rollbacks, wall - DAY, wall),
        restarts_left=facts.policy.restarts_per_hour - count_since(state.restarts, wall - HOUR, wall),
        gateway_restarted=gateway_age is not None and 0 <= gateway_age < GATEWAY_MEMORY_SECONDS,
        observe=_find_observe(facts.seen),
        held=_find_held(facts),
        # A canary only waits: the active release is mended beside it.
        moving="" if state.canary else describe_move(state),
        halted=state.halted,
    )


def is_baking(state: NodeState) -> bool:
    """Whether the active release is on trial."""
    return state.active is not None and state.active.stage is Stage.BAKING


def find_canary(state: NodeState | None) -> Move | None:
    """The move whose release has a share of the traffic beside the active one, also while that share grows."""
    move = state.move if state else None
    if move is None or move.kind is not Kind.ACTIVATE:
        return None
    is_growing = move.step is Step.SWITCH and (move.since > 0 or move.share < 100)
    return move if move.step is Step.CANARY or is_growing else None


def find_fallback(state: NodeState, *, at: float, damaged: tuple[str, ...] = ()) -> str:
    """What a rollback would go to now, "" when there is nothing; what is damaged only where nothing whole is left."""
    for missing in (damaged, ()):
        with suppress(DsopsError):
            return find_target(state, at=at, missing=missing)
    return ""


def find_last_rollback(state: NodeState) -> float | None:
    """When dsops last rolled back here by itself."""
    return state.rollbacks[-1] if state.rollbacks else None


def count_since(times: tuple[float, ...], since: float, until: float) -> int:
    """How many of the times lie between."""
    return sum(since < at <= until for at in times)


def describe_move(state: NodeState) -> str:
    """The change under way in words, "" when there is none."""
    move = state.move
    if move is None:
        return ""
    share = f" at {move.share} %" if find_canary(state) else ""
    return f"{move.kind} of {move.release} in slot {move.slot}{share} by {move.who} (step {move.step})"


def _find_observe(seen: Seen) -> str:
    drained = seen.gateway.drained if seen.gateway else None
    return f"drained: {drained}" if drained is not None else seen.maintenance


def _find_held(facts: Facts) -> str:
    age = facts.now.ticks - facts.began.ticks
    if age >= facts.settings_hold:
        return ""
    return f"the agent has just started: it acts {facts.settings_hold:g} s after that"
