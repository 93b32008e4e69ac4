"""Watches a release that has a share of the traffic beside the active one, and gives the share back when it fails.

The looks and the strikes are those of the active slot. What differs is what follows: the way back costs nothing, so
nothing else is tried first; and what befalls the active slot of the same machine as well is no fault of the canary.
"""

from dataclasses import dataclass, replace

from dsops.core.blame import Evidence, Ruling, judge_blame
from dsops.core.looks import Code, Witness
from dsops.core.state import Move, NodeState
from dsops.core.status import Blame, Canary, Condition, Finding, Phase, Verdict
from dsops.core.verdict import want_eject
from dsops.node.agent.events import (
    Call,
    Died,
    Effect,
    Event,
    HelperTold,
    Inspected,
    LookNow,
    Now,
    Probed,
    ProbeLost,
    Seen,
    Side,
    SlotSeen,
    Ticked,
)
from dsops.node.agent.eyes import Eyes, Target
from dsops.node.agent.incident import Incident
from dsops.node.agent.sampling import Sampling
from dsops.node.agent.settings import Settings
from dsops.node.agent.situation import JUMP_SECONDS, find_canary, is_baking
from dsops.node.agent.teller import Note, Record, Teller

# What the active slot suffered so shortly before the canary's first BAD, or since, both have suffered.
TOGETHER_SECONDS = 30.0
# A verdict waits so long for a right answer of the active slot: it shows that the machine is well.
BESIDE_SECONDS = 10.0
# A helper that refused is asked again so soon: meanwhile clients are served by what has failed.
AGAIN_SECONDS = 5.0
ENDED = "its process ended: whatever ended it, nobody is served there"
WELL = "environment: the active slot in the same machine answers right"


@dataclass(frozen=True)
class Beside:
    """The slot that has the traffic, as its own watch knows it."""

    seen: Seen
    eyes: Eyes
    only_looks: bool = False

    @property
    def is_open(self) -> bool:
        """Whether clients are served, so that samples beside them mean something."""
        gateway = self.seen.gateway
        return gateway is not None and not gateway.reason and gateway.ejected is None and not self.only_looks


class CanaryWatch:
    """One per agent; idle while no canary is out. held: why nothing is done about one that fails."""

    def __init__(self, settings: Settings, *, now: Now, record: Record, note: Note) -> None:
        self.teller = Teller(settings.node, record=record, note=note)
        self.eyes = Eyes(Side.CANARY, now=now, teller=self.teller)
        self.sampling = Sampling(settings.canary_pause)
        self.move: Move | None = None
        self.held = ""
        self._pace = settings.pace
        self._seen: SlotSeen | None = None
        self._ticks_needed = 0
        self._acting: Call | None = None
        self._is_returned = False
        self._again_at = float("-inf")

    # --- what others may ask ------------------------------------------------------------------------------------

    @property
    def incident(self) -> Incident | None:
        """What goes on, None while all is well."""
        return self.teller.incident

    @property
    def is_suspect(self) -> bool:
        """Whether anything speaks against it now."""
        return self.move is not None and bool(self.eyes.strikes.bad)

    def is_mine(self, call: Call) -> bool:
        """Whether it was the canary's watch that asked the helper this."""
        return call == self._acting

    def describe(self) -> Canary | None:
        """As it is shown; None while no canary is out."""
        move, eyes = self.move, self.eyes
        if move is None:
            return None
        tally = self.sampling.tallies.get(move.release)
        return Canary(
            release=move.release,
            slot=move.slot,
            share=move.share,
            since=move.since or move.began,
            verdict=eyes.verdict,
            strikes=eyes.strike_count,
            reason=self.held or self._find_doubt(),
            synthetic=tally.requests if tally else 0,
        )

    def _find_doubt(self) -> str:
        if self.is_suspect:
            return self.eyes.last_bad
        is_blind = self._seen is not None and self._seen.golden is None
        return "nobody can ask it: its golden prompts cannot be read" if is_blind else ""

    def find_trouble(self) -> Finding | None:
        """What the active slot's judge must know: the canary suffers too. The gateway is no part of the machine."""
        looks = [look for look in self.eyes.strikes.bad if look.witness is not Witness.GATEWAY]
        if self.move is None or not looks:
            return None
        says = f"the canary in slot {self.move.slot} fails at the same time: {looks[-1].says}"
        mend = "look at the machine, not at a release"
        return Finding("the server", "canary.together", Verdict.BAD, Blame.ENVIRONMENT, Condition.DEGRADED, says, mend)

    # --- the one entry ------------------------------------------------------------------------------------------

    def take(self, event: Event, beside: Beside) -> list[Effect]:
        """Everything that should be done now."""
        self.eyes.now, self.eyes.jumped_at = event.now, beside.eyes.jumped_at
        self._mute(is_muted=beside.only_looks)
        effects = self._take(event)
        self.sampling.sides = self._find_sampled(beside)
        if self.move is None:
            return effects
        effects += self._decide(self.move, beside)
        effects += self._ask(beside)
        self._close_when_well()
        return effects

    def _find_sampled(self, beside: Beside) -> frozenset[Side]:
        """Both releases while one is a canary; one that has all of the traffic until it has baked."""
        state = beside.seen.store
        if not beside.is_open or state is None:
            return frozenset()
        if self.move:
            return frozenset(Side)
        # Another move just makes it slow, or is about to take it away: that would say nothing of it.
        return frozenset({Side.ACTIVE}) if is_baking(state) and state.move is None else frozenset()

    def begin_afresh(self, says: str) -> None:
        """What was seen so far speaks of something else than the canary."""
        self.held = ""
        self.eyes.begin(self.eyes.target, says=says if self.move else "")

    def _mute(self, *, is_muted: bool) -> None:
        if is_muted != self.eyes.is_muted:
            self.eyes.is_muted = is_muted
            self.eyes.begin(self.eyes.target)

    def _take(self, event: Event) -> list[Effect]:
        match event:
            case Ticked():
                self._take_tick(event)
            case Probed() if event.probe.side is Side.CANARY:
                self.sampling.take(event, self.eyes.take_probe(event))
            case ProbeLost() if event.probe.side is Side.CANARY:
                self.eyes.lose(event.probe)
            case Died() if self.move and event.slot == self.move.slot and not self.eyes.is_muted:
                # The reading that is under way may not know yet that the move is over, and the helper stopped it.
                self._ticks_needed = 2
                return [self.eyes.take_death(event), LookNow()]
            case Inspected():
                return self._take_inspection(event)
            case HelperTold():
                return self._take_helper(event)
        return []

    def _take_inspection(self, event: Inspected) -> list[Effect]:
        """What ended by itself failed. What was stopped may be no canary any more: that is looked at first."""
        death = self.eyes.take_inspection(event)
        if death is None:
            return []
        if death.expected:
            self.eyes.ask_soon()
            return [LookNow()]
        self._ticks_needed = 0
        return []

    def _take_tick(self, event: Ticked) -> None:
        seen, state = event.seen, event.seen.store
        if state is None:
            return  # nobody can say whether it is still out
        self._ticks_needed = max(0, self._ticks_needed - 1)
        before, self.move = self.move, find_canary(state)
        if _find_key(before) != _find_key(self.move):
            self._change(before, state)
        self._seen = seen.canary
        if self._seen and self._seen.slot == self.eyes.target.slot:
            self.eyes.see(self._seen)
            if self.move and not self.is_suspect and self._is_fresh(self.move, self._seen):
                self.eyes.take_restart()

    def _is_fresh(self, move: Move, seen: SlotSeen) -> bool:
        """Whether it loads though it had its share already: its process is another one than was proven."""
        now = self.eyes.now
        share_began = now.ticks - (now.wall - move.since) if move.since else now.ticks
        return seen.phase is Phase.LOADING and seen.unit.started > share_began + 1.0

    def _change(self, before: Move | None, state: NodeState) -> None:
        """Another one is out, or none any more."""
        if before:
            self._close(self._find_outcome(before, state))
        self._acting, self._is_returned, self._again_at, self.held = None, False, float("-inf"), ""
        move = self.move
        says = f"{move.release} in slot {move.slot} has {move.share} % of the traffic" if move else ""
        self.eyes.begin(Target(move.slot, move.release) if move else Target(), says=says)

    def _find_outcome(self, before: Move, state: NodeState) -> str:
        active = state.active.release if state.active else "no release"
        if self._acting or self._is_returned:
            return f"its share was taken back: {active} has all of the traffic"
        if active == before.release:
            return "it has all of the traffic now"
        return f"it was called off: {active} has all of the traffic"

    # --- decisions ----------------------------------------------------------------------------------------------

    def _decide(self, move: Move, beside: Beside) -> list[Effect]:
        dead = want_eject(self.eyes.strikes, peers_serving=0) or ""
        why = dead or (self.eyes.last_bad if self.eyes.verdict is Verdict.BAD else "")
        if not why or not self._may_act:
            return []
        trouble = self._find_together(beside, is_dead=bool(dead))
        if trouble:
            return self._hold(trouble)
        if self.held:
            self.begin_afresh("the active slot is well again: the canary's checks begin afresh")
            return []
        if not dead and not self._is_well_beside(beside):
            return []
        return self._return(move, why, beside)

    @property
    def _may_act(self) -> bool:
        """Not while dsops only looks, asked for already, or not known yet how a process ended, and by whose act."""
        eyes = self.eyes
        is_waiting = self._acting is not None or eyes.now.ticks < self._again_at or eyes.has_lost
        return not eyes.is_muted and not is_waiting and self._ticks_needed == 0

    @property
    def _since(self) -> float:
        """When what speaks against it now began, in ticks."""
        strikes = self.eyes.strikes
        return min((look.at for look in strikes.bad or strikes.deaths[-1:]), default=self.eyes.now.ticks)

    def _find_together(self, beside: Beside, *, is_dead: bool) -> str:
        """What the active slot suffers at the same time, "" if well; beside a dead canary only a death counts."""
        eyes, since = beside.eyes, self._since - TOGETHER_SECONDS
        if eyes.died_at >= since and (eyes.ok_at is None or eyes.ok_at <= eyes.died_at):
            return "its process ended too"
        if beside.seen.phase in (Phase.LOADING, Phase.COMPILING, Phase.WARMING, Phase.STOPPED):
            return f"it is {beside.seen.phase} itself"
        if is_dead:
            return want_eject(eyes.strikes, peers_serving=0) or ""
        return next((look.says for look in reversed(eyes.strikes.bad) if look.at >= since), "")

    def _is_well_beside(self, beside: Beside) -> bool:
        """Whether it answered right since. Where only the gateway failed it must have done so through the gateway."""
        is_gateways = {look.witness for look in self.eyes.strikes.bad} == {Witness.GATEWAY}
        good = [look for look in beside.eyes.strikes.good if look.at >= self._since]
        if is_gateways:
            return any(look.witness is Witness.GATEWAY for look in good)
        return bool(good) or self.eyes.now.ticks - self.eyes.verdict_at >= BESIDE_SECONDS

    def _hold(self, trouble: str) -> list[Effect]:
        if not self.held:
            self.held = f"held, since the active slot fails too: {trouble}"
            ruling = Ruling(Blame.ENVIRONMENT, f"the active slot fails at the same time: {trouble}")
            self._rule(ruling, done="", says=self.held, then="the active slot must be well first")
        return []

    def _return(self, move: Move, why: str, beside: Beside) -> list[Effect]:
        ruling = self._find_ruling(beside)
        is_wrong = any(look.code is Code.WRONG for look in self.eyes.strikes.bad)
        lasting = is_wrong and ruling.blame is Blame.RELEASE
        about = (("release", move.release), ("began", move.began))
        words = (("reason", f"as a canary at {move.share} %: {why}"), ("lasting", lasting))
        self._acting = Call("refuted", (*about, *words))
        says = f"its {move.share} % go back to {beside.seen.release}: {ruling.says}"
        self._rule(ruling, done="return of its share", says=says, then="the active slot gets all lanes again")
        return [self._acting]

    def _find_ruling(self, beside: Beside) -> Ruling:
        eyes, jumped = self.eyes, self.eyes.jumped_at
        unit = self._seen.unit if self._seen else beside.seen.unit
        ruling = judge_blame(
            Evidence(
                at=eyes.now.wall,
                strikes=eyes.strikes,
                release=eyes.target.release,
                baking=True,
                stopped=unit.active in ("inactive", "deactivating") and unit.result in ("", "success"),
                clock_jumped=jumped is not None and jumped > self._since - JUMP_SECONDS,
                deaths=eyes.deaths,
                findings=beside.seen.findings,
            )
        )
        says = ENDED if ruling.blame is Blame.UNKNOWN else ruling.says
        well = (WELL,) if beside.eyes.verdict is Verdict.OK else ()
        return replace(ruling, says=says, excludes=(*ruling.excludes, *well))

    def _take_helper(self, event: HelperTold) -> list[Effect]:
        if self._acting is None or event.call != self._acting:
            return []
        self._acting = None
        self._again_at = event.now.ticks + AGAIN_SECONDS
        self._is_returned = not event.says
        if event.says:
            self.eyes.say("failed", f"its share is not taken back: {event.says}")
        else:
            self.eyes.say("returned", f"all lanes lead to the active slot again, after {event.seconds:.2f} s")
        return [LookNow()]

    # --- probes -------------------------------------------------------------------------------------------------

    def _ask(self, beside: Beside) -> list[Effect]:
        golden = self._seen.golden if self._seen else None
        every = self._pace.retry if self.is_suspect else self._pace.every / 3
        paces = self.find_paces(self.eyes, Side.CANARY, every=every, has_gateway=beside.seen.gateway is not None)
        probes = self.eyes.ask(golden, paces, samples=Side.CANARY in self.sampling.sides, pinned=True)
        self.sampling.begin(probes)
        return list(probes)

    def find_paces(self, eyes: Eyes, side: Side, *, every: float, has_gateway: bool) -> dict[Witness, float]:
        """Seconds from one probe to the next, of either slot; while samples are taken, the gateway's by their turn."""
        paces = {Witness.SLOT: every} | ({Witness.GATEWAY: every} if has_gateway else {})
        if side in self.sampling.sides and has_gateway:
            pace = self.sampling.find_pace(side, now=eyes.now.ticks, is_busy=eyes.is_busy)
            paces = {who: one for who, one in paces.items() if who is Witness.SLOT}
            paces |= {} if pace is None else {Witness.GATEWAY: min(pace, every)}
        return paces

    # --- the story ----------------------------------------------------------------------------------------------

    def _rule(self, ruling: Ruling, *, done: str, says: str, then: str) -> None:
        self.eyes.open(self.eyes.now.ticks)
        self.teller.rule(ruling, done=done, says=says, then=then, release=self.eyes.target.release, now=self.eyes.now)

    def _close_when_well(self) -> None:
        is_well = self.eyes.verdict is Verdict.OK and not self.eyes.has_lost
        if self.incident and is_well and self._acting is None and not self._is_returned:
            self.held = ""
            self._close("it answers right again")

    def _close(self, outcome: str) -> None:
        incident, now = self.incident, self.eyes.now
        if incident:
            took = f"{now.wall - incident.began:.1f} s after it began"
            self.teller.close(release=self.eyes.target.release, now=now, outcome=f"{outcome}, {took}")


def _find_key(move: Move | None) -> tuple[object, ...]:
    return (move.release, move.slot, move.began) if move else ()
