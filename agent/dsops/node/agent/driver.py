"""Drives the store on: who waits for a proof gets one, what was cut is done again, what is old enough ages.

Once after each boot it has what the node would go back to hashed again, while nothing else goes on.
"""

from dataclasses import dataclass, field

from dsops.core.state import WAITS, Active, Move, NodeState, Policy, Stage, Step
from dsops.core.status import Phase, Proof
from dsops.node.agent.events import Call, Effect, HelperTold, LookNow, Now, Prove, Proved, Seen, StopProving
from dsops.node.agent.prove import Refusal, render_evidence

# The helper does a step's effects itself; only after a kill somebody must say so.
STUCK_SECONDS = 2.0
# A try that changes nothing is made again after twice the time: a disk that is full for minutes must not use up what
# a move may take (core.state.TURNS).
RECOVER_MOST_SECONDS = 60.0
AGE_AGAIN_SECONDS = 60.0
# Hashing reads much: only once the slot has served for so long. What is left is asked for again after a while.
REHASH_AFTER_SECONDS, REHASH_AGAIN_SECONDS = 300.0, 600.0
VERBS = ("proven", "refuted", "recover", "age", "rehash")
Key = tuple[str, str, float]


@dataclass
class Driver:
    """proof: of the release that was proven last."""

    policy: Policy
    proof: Proof | None = None
    proving: Key | None = None
    answer: Call | None = None
    _pending: set[str] = field(default_factory=set)
    _tried: dict[str, float] = field(default_factory=dict)
    _stuck: tuple[Key, Step] | None = None
    _tries: int = 0
    _seq: int = -1
    _seq_since: float = 0.0
    _age_key: tuple[str, float] = ("", 0.0)
    _age_from: float = 0.0
    _quiet_from: float | None = None
    _is_hashed: bool = False

    def step(self, now: Now, seen: Seen, *, is_quiet: bool) -> list[Effect]:
        """What the store needs now. is_quiet: nothing speaks against the active release."""
        if seen.store is None:
            return []
        if seen.seq != self._seq:
            self._seq, self._seq_since = seen.seq, now.ticks
        self._follow_age(now, seen.store.active)
        move = seen.store.move
        effects = self._prove(now, move)
        if move and move.step not in WAITS:
            effects += self._recover(now, move)
        if move is None and is_quiet:
            effects += self._age(now, seen.store)
        effects += self._rehash(now, is_quiet=move is None and is_quiet and seen.phase is Phase.SERVING)
        return effects

    def take_proof(self, event: Proved) -> None:
        """Keeps what the helper must be told, until it took it."""
        move = event.move
        if self.proving != _key(move):
            return
        about = (("release", move.release), ("began", move.began))
        if isinstance(event.result, Refusal):
            words = (("reason", event.result.reason), ("lasting", event.result.lasting))
            self.answer = Call("refuted", (*about, *words))
        else:
            self.proof = event.result
            self.answer = Call("proven", (*about, ("evidence", render_evidence(event.result))))

    def lose_proof(self, move: Move) -> None:
        """It is tried again."""
        if self.proving == _key(move):
            self.proving = None

    def take_answer(self, event: HelperTold) -> list[Effect]:
        """The helper's answer to one of our calls."""
        self._pending.discard(event.call.verb)
        if event.call.verb == "rehash":
            self._is_hashed = not event.says and not event.said.get("left")
            return []
        return [] if event.says else [LookNow()]

    def find_age(self, now: Now) -> float:
        """Seconds for which the active release has had the traffic, whatever was done to the clock meanwhile."""
        return max(0.0, now.ticks - self._age_from)

    def _follow_age(self, now: Now, active: Active | None) -> None:
        key = (active.release, active.since) if active else ("", 0.0)
        if key != self._age_key:
            self._age_key = key
            self._age_from = now.ticks - (max(0.0, now.wall - active.since) if active else 0.0)

    def _prove(self, now: Now, move: Move | None) -> list[Effect]:
        if move is None or move.step is not Step.PROVE:
            was, self.proving, self.answer = self.proving, None, None
            return [StopProving()] if was else []
        if self.proving != _key(move):
            self.proving, self.answer = _key(move), None
            return [Prove(move)]
        return self._call(now, self.answer, again=STUCK_SECONDS) if self.answer else []

    def _recover(self, now: Now, move: Move) -> list[Effect]:
        stuck = (_key(move), move.step)
        if stuck != self._stuck:
            self._stuck, self._tries = stuck, 0
        pause = min(STUCK_SECONDS * 2**self._tries, RECOVER_MOST_SECONDS)
        if now.ticks - max(self._seq_since, self._tried.get("recover", self._seq_since)) <= pause:
            return []
        calls = self._call(now, Call("recover"), again=0.0)
        self._tries += len(calls)
        return calls

    def _age(self, now: Now, state: NodeState) -> list[Effect]:
        due = find_next_age(state, self.policy)
        if due is None or self.find_age(now) < due:
            return []
        return self._call(now, Call("age"), again=AGE_AGAIN_SECONDS)

    def _rehash(self, now: Now, *, is_quiet: bool) -> list[Effect]:
        if not is_quiet:
            self._quiet_from = None
            return []
        self._quiet_from = now.ticks if self._quiet_from is None else self._quiet_from
        if self._is_hashed or now.ticks - self._quiet_from < REHASH_AFTER_SECONDS:
            return []
        return self._call(now, Call("rehash"), again=REHASH_AGAIN_SECONDS)

    def _call(self, now: Now, call: Call, *, again: float) -> list[Effect]:
        last = self._tried.get(call.verb)
        is_new = last is None or self._seq_since > last
        if call.verb in self._pending or not (is_new or now.ticks - (last or 0.0) >= again):
            return []
        self._pending.add(call.verb)
        self._tried[call.verb] = now.ticks
        return [call]


def find_next_age(state: NodeState, policy: Policy) -> float | None:
    """Seconds of age at which something is due: the next stage, or the end of a slot that is kept warm beside."""
    if state.active is None:
        return None
    if state.warm:
        return policy.bake_seconds
    return {Stage.BAKING: policy.bake_seconds, Stage.BAKED: policy.known_good_seconds}.get(state.active.stage)


def _key(move: Move) -> Key:
    return (move.release, move.slot, move.began)
