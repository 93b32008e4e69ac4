"""Which class of cause a failing node points at; only `release` ever leads to a rollback. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dsops.core.checks import ORDER, find_drain
from dsops.core.looks import Cause, Code, Death, Witness
from dsops.core.status import Blame, Finding, Measure, NodeStatus, Phase, ReleaseState, Verdict
from dsops.core.verdict import Strikes

POOL_SECONDS = 3600.0
# What is summed up as a release's surroundings (the helper's `environment`), in words.
SURROUNDINGS = "kernel, GPU driver, Triton, its units, or the engine's packages"
# Strikes after which a peer counts as failing; one may be a hiccup of its own.
PEER_STRIKES = 2
# Who has served well for so long in new surroundings does not fail because of them.
CHANGE_SECONDS = 86400.0
# No fresh process can have failed earlier than this after a death.
START_SECONDS = 2.0


@dataclass(frozen=True)
class Peer:
    """Another node of the pool, as its own status tells it. Times: Unix seconds.

    serves: has traffic and nothing speaks against it. fails: two strikes or more, or a verdict.
    """

    node: str
    release: str = ""
    baking: bool = False
    serves: bool = False
    fails: bool = False
    last_rollback_at: float | None = None


def find_peer(status: NodeStatus) -> Peer:
    """What a peer's status says of it."""
    fails = status.verdict is Verdict.BAD or status.strikes >= PEER_STRIKES
    # One whose checks want it out of traffic is about to leave.
    open_door = status.ejected is None and status.drained is None and find_drain(status.findings) is None
    return Peer(
        node=status.node,
        release=status.release,
        baking=status.release_state is ReleaseState.BAKING,
        serves=open_door and status.phase is Phase.SERVING and status.strikes == 0 and not fails,
        fails=fails or (status.ejected is not None and status.strikes > 0),
        last_rollback_at=status.last_rollback_at,
    )


def count_serving(peers: Sequence[Peer]) -> int:
    """Nodes that can take the traffic of one that leaves.

    A peer with a strike is none: of two nodes that fall ill together each sees the other's first strike before its
    own second, so that not both leave.
    """
    return sum(peer.serves for peer in peers)


@dataclass(frozen=True)
class Evidence:
    """All that is known when the question is who is to blame.

    at: Unix seconds. baking: this node's release is on trial. restarted: dsops started it afresh within the hour, and
    it fails again. stopped: somebody stopped the unit. deaths: of this release's engine in the last ten minutes; their
    times are monotonic, like those of looks. findings: of all checks. peers: those that answered, of peers_asked.
    last_rollback_at: of this node, by dsops. changed_at: when it was first seen that what surrounds the release is not
    what it became known good in; None = it is, or nobody knows.
    """

    at: float
    strikes: Strikes
    release: str = ""
    baking: bool = False
    restarted: bool = False
    stopped: bool = False
    clock_jumped: bool = False
    deaths: tuple[Death, ...] = ()
    findings: tuple[Finding, ...] = ()
    peers: tuple[Peer, ...] = ()
    peers_asked: int = 0
    last_rollback_at: float | None = None
    changed_at: float | None = None

    @property
    def was_restarted(self) -> bool:
        """By dsops, or by systemd after a death: what was seen later is of a fresh process."""
        died = min((death.at for death in self.deaths if not death.expected), default=math.inf)
        again = (look.at for look in (*self.strikes.bad, *self.strikes.deaths))
        return self.restarted or any(at >= died + START_SECONDS for at in again)


@dataclass(frozen=True)
class Ruling:
    """says: why, in one sentence. excludes: what was looked at and does not explain it, in words.

    restart_helps: the engine is dead, so a fresh start may mend it though the cause lies elsewhere.
    """

    blame: Blame
    says: str
    excludes: tuple[str, ...] = ()
    restart_helps: bool = False


def judge_blame(evidence: Evidence) -> Ruling:
    """The first explanation that holds, from the surest on; `release` only when nothing else is left."""
    excluded: list[str] = []
    for explain, exclusion in _EXPLANATIONS:
        ruling = explain(evidence)
        if ruling:
            return replace(ruling, excludes=tuple(excluded))
        if says := exclusion(evidence):
            excluded.append(says)
    return Ruling(*_blame_release(evidence), tuple(excluded))


def _blame_release(evidence: Evidence) -> tuple[Blame, str]:
    if evidence.baking:
        return Blame.RELEASE, "the release is new here, and nothing else explains it"
    if evidence.was_restarted:
        return Blame.RELEASE, "it fails again after a fresh start, and nothing else explains it"
    return Blame.UNKNOWN, "it served well until now; a fresh start will tell whether the release is to blame"


_Explain = Callable[[Evidence], Ruling | None]
_Exclude = Callable[[Evidence], str]


def _find_class(*classes: Blame) -> _Explain:
    def explain(evidence: Evidence) -> Ruling | None:
        speaking = [f for f in evidence.findings if f.blame in classes and f.status is not Verdict.OK and f.excuses]
        found = max(speaking, key=lambda one: ORDER.index(one.measure), default=None)
        if found is None:
            return None
        return Ruling(found.blame, f"{found.entity}: {found.reason}", restart_helps=found.measure is Measure.RESTART)

    return explain


def _explain_clock(evidence: Evidence) -> Ruling | None:
    return Ruling(Blame.ENVIRONMENT, "the clock jumped; timeouts mean nothing") if evidence.clock_jumped else None


def _explain_stopped(evidence: Evidence) -> Ruling | None:
    return Ruling(Blame.ENVIRONMENT, "somebody stopped the engine's unit") if evidence.stopped else None


def _explain_change(evidence: Evidence) -> Ruling | None:
    """R14: what a release cannot take back with it, no rollback mends."""
    at = evidence.changed_at
    if at is None or abs(evidence.at - at) >= CHANGE_SECONDS:
        return None
    says = f"its surroundings changed since it was known good, {(evidence.at - at) / 60:.0f} min ago: {SURROUNDINGS}"
    return Ruling(Blame.ENVIRONMENT, says, restart_helps=_is_dead(evidence))


def _explain_gateway(evidence: Evidence) -> Ruling | None:
    """Every BAD came through the gateway: nothing speaks against the slot itself."""
    bad = evidence.strikes.bad
    if not bad or any(one.witness is not Witness.GATEWAY for one in bad):
        return None
    return Ruling(Blame.DSOPS, "only through the gateway it fails; nothing speaks against the slot itself")


def _explain_peers(evidence: Evidence) -> Ruling | None:
    """Failing together without a rollout that explains it. In a rollout the nodes with the new release may fail."""
    odd = [p for p in evidence.peers if p.fails and not _is_explained(evidence, p)]
    if not odd:
        return None
    names = ", ".join(peer.node for peer in odd)
    says = f"{names} fail{'s' if len(odd) == 1 else ''} at the same time, without a rollout"
    return Ruling(Blame.ENVIRONMENT, says, restart_helps=_is_dead(evidence))


def _is_dead(evidence: Evidence) -> bool:
    """It gives no wrong answers, but none: a fresh start costs nothing."""
    return all(one.code is not Code.WRONG for one in evidence.strikes.bad)


def _is_explained(evidence: Evidence, peer: Peer) -> bool:
    """By its own trial, or by the release that is on trial here too."""
    return peer.baking or (evidence.baking and peer.release == evidence.release)


def _explain_pool(evidence: Evidence) -> Ruling | None:
    """After bake one rollback of dsops' own in a pool and hour: two are rarely two releases' faults."""
    if evidence.baking or not evidence.was_restarted:
        return None
    times = [(p.node, p.last_rollback_at) for p in evidence.peers] + [("this node", evidence.last_rollback_at)]
    recent = [(name, at) for name, at in times if at is not None and 0 <= evidence.at - at < POOL_SECONDS]
    if not recent:
        return None
    name, at = max(recent, key=lambda one: one[1])
    minutes = (evidence.at - at) / 60
    says = f"{name} rolled back {minutes:.0f} min ago; two releases are rarely to blame within one hour"
    return Ruling(Blame.ENVIRONMENT, says)


def _explain_death(evidence: Evidence) -> Ruling | None:
    """A kill from outside, or a lack of memory, is nobody's fault until a fresh process fails too."""
    death = next((one for one in evidence.deaths if one.cause in (Cause.KILLED, Cause.OOM) and not one.expected), None)
    if death is None or evidence.was_restarted or any(one.code is Code.WRONG for one in evidence.strikes.bad):
        return None
    how = "was killed from outside" if death.cause is Cause.KILLED else "found no memory"
    return Ruling(Blame.UNKNOWN, f"the engine {how}; a fresh start will tell")


def _exclude(words: str) -> _Exclude:
    return lambda _: words


def _exclude_peers(evidence: Evidence) -> str:
    if not evidence.peers_asked:
        return ""
    heard, failing = len(evidence.peers), sum(peer.fails for peer in evidence.peers)
    if failing:
        return "environment: the nodes that fail with it have a new release"
    return f"environment: {heard} of {evidence.peers_asked} other nodes answer, none fails"


def _exclude_gateway(evidence: Evidence) -> str:
    bad = any(one.witness is not Witness.GATEWAY for one in evidence.strikes.bad)
    return "dsops: the slot fails also without the gateway" if bad else ""


_EXPLANATIONS: tuple[tuple[_Explain, _Exclude], ...] = (
    (_find_class(Blame.HARDWARE), _exclude("hardware: nothing reports a fault")),
    (_find_class(Blame.STORAGE), _exclude("storage: no disk reports a fault")),
    (_find_class(Blame.FABRIC), _exclude("")),
    (_find_class(Blame.ENVIRONMENT), _exclude("")),
    (_explain_clock, _exclude("")),
    (_explain_stopped, _exclude("")),
    (_explain_change, _exclude("")),
    (_explain_gateway, _exclude_gateway),
    (_find_class(Blame.OVERLOAD), _exclude("overload: what timed out did not move at all")),
    (_explain_peers, _exclude_peers),
    (_explain_pool, _exclude("")),
    (_explain_death, _exclude("")),
)
