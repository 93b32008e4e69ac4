"""The agent's judgement over time: looks become strikes, strikes move traffic, verdicts become acts.

It does nothing itself and has no clock: `take` is told what happened and answers what should be done. Tests play
whole incidents with it, second by second, without waiting.
"""

from collections import deque
from dataclasses import dataclass, field, replace

from dsops.core.blame import Peer, Ruling, count_serving, judge_blame
from dsops.core.looks import (
    HANG_SECONDS,
    STILL_SECONDS,
    Code,
    Death,
    Look,
    Witness,
    is_clock_jump,
    judge_death,
    judge_loading,
    judge_probe,
    judge_progress,
)
from dsops.core.progress import Progress, find_stall
from dsops.core.remedy import Action, Remedy, decide
from dsops.core.state import Kind, Policy
from dsops.core.status import Phase, Verdict
from dsops.core.verdict import Strikes, count_strikes, want_admit, want_eject
from dsops.node.agent.driver import VERBS, Driver
from dsops.node.agent.events import (
    WHO,
    AskPeers,
    Call,
    Died,
    Effect,
    Event,
    HelperTold,
    Inspect,
    Inspected,
    LookNow,
    Now,
    PeersTold,
    Probe,
    Probed,
    ProbeLost,
    ProofLost,
    Proved,
    Seen,
    Ticked,
    TrafficTold,
)
from dsops.node.agent.incident import Incident
from dsops.node.agent.rounds import Pace, Rounds
from dsops.node.agent.seeing import find_death, see_probe
from dsops.node.agent.situation import Facts, find_evidence, find_situation, is_baking
from dsops.node.agent.teller import Note, Record, Teller
from dsops.node.agent.traffic import Traffic

# Of nodes that fall ill together one must stay: who leaves has just heard that another serves.
PEERS_EJECT_SECONDS = 1.0
PEERS_FRESH_SECONDS = 3.0
PEERS_DECIDE_SECONDS = 6.0
FAILED_AGAIN_SECONDS = 30.0
DONE_PAUSE_SECONDS = 5.0
# What just began to run may refuse before its unit says that it loads.
BEGINNING_SECONDS = 3.0
# After the bake window a verdict waits so long before it is acted upon, and then asks the peers: what befalls all
# nodes in one second must be seen as that by each of them. Longer than a tick and an answer.
SETTLE_SECONDS = 2.0
HISTORY = 90
DEATHS_SECONDS = 600.0
# So long a restart by dsops counts as the test of blame: failing again within it means the release.
RESTART_MEMORY_SECONDS = 3600.0


@dataclass(frozen=True)
class Settings:
    """What a watch is told once."""

    node: str
    policy: Policy = field(default_factory=Policy)
    pace: Pace = field(default_factory=Pace)
    hold_seconds: float = 120.0
    has_peers: bool = False


@dataclass(frozen=True)
class Restarts:
    """When dsops last restarted what, by the wall clock; kept over the agent's own restarts."""

    slot: float | None = None
    release: str = ""
    gateway: float | None = None


@dataclass(frozen=True)
class Target:
    """What has the traffic."""

    slot: str = ""
    release: str = ""


@dataclass
class Counters:
    """For /metrics; since the agent's start."""

    probes: dict[tuple[str, str], int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=lambda: {"slot": 0, "gateway": 0})


class Watch:
    """One per agent. `record(incident)` is called when a story gained a line; `note` keeps a line of history."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: Now,
        restarts: Restarts | None = None,
        record: Record = lambda _: None,
        note: Note = lambda *_: None,
    ) -> None:
        self.settings = settings
        self.driver = Driver(settings.policy)
        self.counters = Counters()
        self.strikes = Strikes()
        self.target = Target()
        self.traffic = Traffic()
        self.teller = Teller(settings.node, record=record, note=note)
        self.ruling: Ruling | None = None
        self.peers: tuple[Peer, ...] = ()
        self.restarts = restarts or Restarts()
        self.seen: Seen | None = None
        self._began = self._now = self._before = now
        self._life = 0
        self._rounds = Rounds()
        self._progress: deque[Progress] = deque(maxlen=HISTORY)
        self._deaths: tuple[Death, ...] = ()
        self._slot_ok_at: float | None = None
        self._peers_at = float("-inf")
        self._life_began = float("-inf")
        self._verdict_at = float("-inf")
        self._peers_asked = 0
        self._is_asking = False
        self._acting: Call | None = None
        self._restarts_before = self.restarts
        self._again_at = float("-inf")
        self._jumped_at: float | None = None
        self._told_codes: set[Code] = set()
        self._decided: tuple[object, ...] = ()
        self._dead: tuple[str, int] = ("", 0)
        self._died_at = float("-inf")

    # --- what others may ask ------------------------------------------------------------------------------------

    @property
    def verdict(self) -> Verdict:
        """As of the last event."""
        return self.strikes.find_verdict(self._now.ticks)

    @property
    def strike_count(self) -> int:
        """What the peers are shown; a stall counts before it is long enough for a hang."""
        return count_strikes(self.strikes, stall=find_stall(list(self._progress), now=self._now.ticks))

    @property
    def incident(self) -> Incident | None:
        """What goes on, None while all is well."""
        return self.teller.incident

    @property
    def now(self) -> Now:
        """The moment of the last event."""
        return self._now

    # --- the one entry ------------------------------------------------------------------------------------------

    def take(self, event: Event) -> list[Effect]:
        """Everything that should be done now."""
        self._move_clock(event.now)
        effects = self._take(event)
        if self.seen is None:
            return effects
        self._find_wish()
        effects += self._decide()
        effects += self.traffic.move(self._now)
        effects += self.driver.step(self._now, self.seen, is_quiet=self._is_quiet)
        effects += self._ask_peers() if self._want_peers else []
        effects += self._probe()
        self._close()
        return effects

    def _take(self, event: Event) -> list[Effect]:
        match event:
            case Ticked():
                self._take_tick(event)
            case Probed():
                self._take_probe(event)
            case ProbeLost():
                if event.probe.life == self._life:
                    self._rounds.end(event.probe.witness)
            case Died():
                return self._take_death(event)
            case Inspected():
                self._take_inspection(event)
            case TrafficTold():
                if self.traffic.take(event):
                    self._say("ejected", "the gateway refuses new requests")
            case PeersTold():
                self._is_asking = False
                self.peers, self._peers_asked, self._peers_at = event.peers, event.asked, event.now.ticks
            case Proved():
                self.driver.take_proof(event)
            case ProofLost():
                self.driver.lose_proof(event.move)
            case HelperTold():
                return self._take_helper(event)
        return []

    def _move_clock(self, now: Now) -> None:
        before, self._before = self._before, now
        if is_clock_jump(wall=now.wall, ticks=now.ticks, wall_before=before.wall, ticks_before=before.ticks):
            self._jumped_at = now.ticks
            self._say("clock", f"the clock jumped by {now.wall - before.wall - (now.ticks - before.ticks):+.0f} s")
        self._now = now

    # --- a tick -------------------------------------------------------------------------------------------------

    def _take_tick(self, event: Ticked) -> None:
        seen, was_drained = event.seen, self.traffic.is_drained
        self.seen = seen
        adopted = self.traffic.hear(seen.gateway)
        target = Target(seen.slot, seen.release)
        if target != self.target:
            self._change_target(target)
        elif was_drained != self.traffic.is_drained:
            drained = self.traffic.is_drained
            self._begin_life("drained: dsops only looks" if drained else "undrained: the checks begin afresh")
        if adopted is not None:
            # It comes back only after OK looks.
            self._want_away(adopted)
        if seen.progress and target.slot:
            self._progress.append(seen.progress)
            self._look_at_engine(seen)

    def _change_target(self, target: Target) -> None:
        before, self.target = self.target, target
        says = f"{target.release or 'no release'} in slot {target.slot or '-'} has the traffic"
        self._begin_life(says if before.slot else "")

    def _begin_life(self, says: str) -> None:
        """What was seen so far says nothing about what runs now."""
        self._life += 1
        self._life_began = self._now.ticks
        self.strikes, self._deaths, self._decided = Strikes(), (), ()
        self._progress.clear()
        self._rounds.restart()
        self._slot_ok_at = None
        self._told_codes.clear()
        self.traffic.since = self._now.ticks
        if says:
            self._say("fresh", says)

    def _look_at_engine(self, seen: Seen) -> None:
        now = self._now.ticks
        if seen.phase is Phase.LOADING and seen.unit.is_running and seen.unit.pid and seen.golden:
            allowed = float(seen.golden.probe.load_seconds)
            self._add(judge_loading(now=now, since=seen.unit.started, allowed=allowed))
        elif seen.phase not in (Phase.LOADING, Phase.STOPPED):
            look = judge_progress(list(self._progress), now=now)
            self._add(look, onset=now - HANG_SECONDS if look.code is Code.HUNG else now)

    # --- looks --------------------------------------------------------------------------------------------------

    def _take_probe(self, event: Probed) -> None:
        probe = event.probe
        if probe.life != self._life or self.seen is None:
            return
        self._rounds.end(probe.witness)
        now = event.now.ticks
        look = judge_probe(
            see_probe(probe, event.heard, ended=now),
            find_stall(list(self._progress), now=now, busy_since=probe.began.ticks),
            phase=Phase.LOADING if now - self._life_began < BEGINNING_SECONDS else self.seen.phase,
            clock_jumped=self._jumped_at is not None and self._jumped_at >= probe.began.ticks,
            agent_age=now - self._began.ticks,
            relay_moved=self._has_relayed(max(probe.began.ticks, now - STILL_SECONDS)),
            slot_ok_at=self._slot_ok_at,
        )
        if probe.began.ticks <= self._died_at and look.verdict is Verdict.BAD:
            return  # it asked the process that died, and that is a look already
        key = (probe.witness.value, look.verdict.value)
        self.counters.probes[key] = self.counters.probes.get(key, 0) + 1
        if probe.witness is Witness.SLOT and look.verdict is Verdict.OK:
            self._slot_ok_at = now
        self._add(look, onset=probe.began.ticks)

    def _has_relayed(self, since: float) -> bool:
        totals = [one.relayed for one in self._progress if one.at >= since and one.relayed is not None]
        return len(set(totals)) > 1

    def _add(self, look: Look, *, onset: float | None = None) -> None:
        if self.traffic.is_drained:
            return
        before = self.strikes
        self.strikes = before.add(look)
        if look.verdict is Verdict.BAD and self.strikes.bad != before.bad:
            self._open(onset if onset is not None else look.at)
            self._told_codes.clear()
            self._say(f"bad {self.strikes.count}", look.says)
            if self.verdict is Verdict.BAD and before.find_verdict(self._now.ticks) is not Verdict.BAD:
                self._verdict_at = self._now.ticks
                self._say("verdict", f"BAD: {self.strikes.count} independent looks, {len(self.strikes.deaths)} deaths")
        elif self.incident and look.verdict is Verdict.UNKNOWN and look.code not in (Code.IDLE, Code.OK):
            if look.code not in self._told_codes:
                self._say("unknown", look.says)
            self._told_codes.add(look.code)

    # --- deaths -------------------------------------------------------------------------------------------------

    def _take_death(self, event: Died) -> list[Effect]:
        seen = self.seen
        if seen is None or event.slot != self.target.slot or self.traffic.is_drained or self._is_ours(event.slot):
            return [LookNow()]
        self._dead, self._died_at = (event.slot, event.pid), event.now.ticks
        self._rounds.defer(event.now.ticks)
        self._open(event.now.ticks)
        self._want_away(f"the engine's process {event.pid} ended")
        return [Inspect(event.slot, event.pid, seen.unit.restarts, event.now.ticks), LookNow()]

    def _is_ours(self, slot: str) -> bool:
        """Whether dsops itself is about to stop or start that slot."""
        move = self.seen.store.move if self.seen and self.seen.store else None
        return (self._acting is not None and self._acting.get("unit") == "slot") or bool(
            move and slot in (move.slot, move.stops)
        )

    def _take_inspection(self, event: Inspected) -> None:
        ask, unit = event.inspect, event.unit
        if ask.slot != self.target.slot or (ask.slot, ask.pid) != self._dead:
            return
        self._dead = ("", 0)
        death = find_death(ask, unit)
        if not death.expected:
            recent = (one for one in self._deaths if event.now.ticks - one.at <= DEATHS_SECONDS)
            self._deaths = (*recent, death)
        look = judge_death(death)
        if death.expected:
            self._say("stopped", look.says)
        self._add(look)

    # --- traffic ------------------------------------------------------------------------------------------------

    def _want_away(self, reason: str) -> None:
        if self.traffic.want_away(reason, now=self._now):
            self._say("eject", f"traffic is taken away: {reason}")

    def _find_wish(self) -> None:
        if self.traffic.wish is None:
            serving = self._count_serving(PEERS_EJECT_SECONDS)
            reason = None if self.traffic.is_drained else want_eject(self.strikes, peers_serving=serving)
            if reason:
                self._want_away(reason)
        elif self._want_back(self._count_serving(PEERS_DECIDE_SECONDS)):
            self._say("admit", "traffic is let in again: it answers right, also through the gateway")
            self.traffic.want_back()

    def _count_serving(self, seconds: float) -> int:
        """Peers that serve, as they said at most so long ago."""
        return count_serving(self.peers) if self._is_fresh(seconds) else 0

    def _want_back(self, serving: int) -> bool:
        """OK looks count from the moment on in which traffic was taken away, or something new began to run."""
        if self._acting:
            return False
        good = tuple(look for look in self.strikes.good if look.at > self.traffic.since)
        known = self._is_fresh(PEERS_DECIDE_SECONDS) or not self.settings.has_peers
        return want_admit(replace(self.strikes, good=good), peers_serving=serving if known else 1)

    # --- peers --------------------------------------------------------------------------------------------------

    @property
    def _want_peers(self) -> bool:
        enough = PEERS_EJECT_SECONDS if self.traffic.wish is None else PEERS_FRESH_SECONDS
        is_asked = self._is_asking or self._is_fresh(enough)
        return self.settings.has_peers and bool(self.strikes.bad or self.traffic.wish) and not is_asked

    def _is_fresh(self, seconds: float) -> bool:
        return self._now.ticks - self._peers_at <= seconds

    def _ask_peers(self) -> list[Effect]:
        if self._is_asking:
            return []
        self._is_asking = True
        return [AskPeers()]

    # --- decisions ----------------------------------------------------------------------------------------------

    def _decide(self) -> list[Effect]:
        if self.verdict is not Verdict.BAD or self._acting or self._now.ticks < self._again_at:
            return []
        move = self.seen.store.move if self.seen and self.seen.store else None
        if move and move.kind is Kind.ROLLBACK:
            return []
        if self.settings.has_peers and not self._is_settled:
            return []
        if self.settings.has_peers and not self._have_peers_spoken:
            return self._ask_peers()
        facts = self._find_facts()
        evidence = find_evidence(facts)
        self.ruling = judge_blame(evidence)
        remedy = decide(find_situation(facts, evidence, self.ruling))
        return self._carry_out(self.ruling, remedy)

    def _find_facts(self) -> Facts:
        assert self.seen
        return Facts(
            now=self._now,
            began=self._began,
            settings_hold=self.settings.hold_seconds,
            policy=self.settings.policy,
            seen=self.seen,
            strikes=self.strikes,
            deaths=self._deaths,
            peers=self.peers,
            peers_asked=self._peers_asked,
            slot_restarted=self._find_restart(),
            gateway_restarted=self.restarts.gateway,
            jumped_at=self._jumped_at,
        )

    def _find_restart(self) -> float | None:
        at = self.restarts.slot
        is_recent = at is not None and 0 <= self._now.wall - at <= RESTART_MEMORY_SECONDS
        return at if is_recent and self.restarts.release == self.target.release else None

    @property
    def _settled_at(self) -> float:
        """When the verdict may be acted upon. In the bake window nodes with the new release may fail together."""
        is_new = self.seen is not None and self.seen.store is not None and is_baking(self.seen.store)
        return self._verdict_at + (0.0 if is_new else SETTLE_SECONDS)

    @property
    def _is_settled(self) -> bool:
        return self._now.ticks >= self._settled_at

    @property
    def _have_peers_spoken(self) -> bool:
        """Since then, and not long ago."""
        is_since = self._settled_at == self._verdict_at or self._peers_at >= self._settled_at
        return is_since and self._is_fresh(PEERS_DECIDE_SECONDS)

    def _carry_out(self, ruling: Ruling, remedy: Remedy) -> list[Effect]:
        key = (remedy.action, remedy.unit, remedy.next, ruling.blame)
        is_act = remedy.action in (Action.RESTART, Action.ROLLBACK, Action.HALT_AND_PAGE)
        if key == self._decided and not is_act:
            return []
        self._decided = key
        self._open(self._now.ticks)
        self.teller.decide(ruling, remedy, release=self.target.release, now=self._now)
        if remedy.action is Action.EJECT:
            serving = count_serving(self.peers)
            if serving:
                self._want_away(remedy.says)
        return self._act(remedy) if is_act else []

    def _act(self, remedy: Remedy) -> list[Effect]:
        assert self.seen
        reason = self._find_reason(remedy)
        if remedy.action is Action.RESTART:
            call = Call("restart", (("unit", remedy.unit), ("reason", reason)))
            self._remember(remedy.unit)
            if remedy.unit == "slot":
                self._want_away(reason)
        elif remedy.action is Action.ROLLBACK:
            words = (("who", WHO), ("reason", reason), ("own", True), ("lasting", remedy.lasting))
            call = Call("rollback", words)
        else:
            call = Call("halt", (("reason", f"{reason}; {remedy.next}"),))
        self._acting = call
        # First the traffic, then what interrupts it.
        return [*self.traffic.move(self._now), call]

    def _find_reason(self, remedy: Remedy) -> str:
        last = self.strikes.bad[-1].says if self.strikes.bad else ""
        if not last and self.strikes.deaths:
            last = self.strikes.deaths[-1].says
        return last or remedy.says

    def _take_helper(self, event: HelperTold) -> list[Effect]:
        call = event.call
        if call.verb in VERBS:
            return self.driver.take_answer(event)
        if call != self._acting:
            return []
        self._acting = None
        if event.says:
            self.restarts = self._restarts_before
            self._again_at = self._now.ticks + FAILED_AGAIN_SECONDS
            self._say("failed", f"{call.verb}: {event.says}")
            return [LookNow()]
        self._again_at = self._now.ticks + DONE_PAUSE_SECONDS
        self._say(call.verb, f"done in {event.seconds:.2f} s")
        if call.verb == "restart":
            self._end_restart(str(call.get("unit")))
        return [LookNow()]

    def _remember(self, unit: str) -> None:
        """Before it is done: an agent that dies in between must not restart it a second time."""
        self._restarts_before = self.restarts
        if unit == "slot":
            self.restarts = replace(self.restarts, slot=self._now.wall, release=self.target.release)
        else:
            self.restarts = replace(self.restarts, gateway=self._now.wall)

    def _end_restart(self, unit: str) -> None:
        self.counters.restarts[unit] = self.counters.restarts.get(unit, 0) + 1
        if unit == "gateway":
            self.traffic.forget()
        self._begin_life(f"the {unit} was started afresh")

    # --- probes -------------------------------------------------------------------------------------------------

    def _probe(self) -> list[Effect]:
        seen = self.seen
        if seen is None or seen.golden is None or not self.target.slot or seen.golden.release != self.target.release:
            return []
        witnesses = (Witness.SLOT, Witness.GATEWAY) if seen.gateway is not None else (Witness.SLOT,)
        prompts, now = seen.golden.prompts, self._now
        due = self._rounds.find_due(witnesses, now=now.ticks, every=self._find_pace())
        return [
            Probe(who, self.target.slot, seen.golden, self._rounds.begin(who, prompts, now=now.ticks), self._life, now)
            for who in due
        ]

    def _find_pace(self) -> float:
        pace = self.settings.pace
        if self.strikes.bad:
            return pace.retry
        if self.traffic.wish is not None:
            return pace.retry if self.strikes.last_bad is not None else pace.fresh
        state = self.seen.store if self.seen else None
        # What is on trial is asked more often: until its first BAD every wrong answer reaches a client.
        return pace.every / 3 if state and is_baking(state) else pace.every

    # --- the story ----------------------------------------------------------------------------------------------

    @property
    def _is_quiet(self) -> bool:
        return not self.strikes.bad and self.traffic.wish is None and self._acting is None

    def _open(self, onset: float) -> None:
        if not self.traffic.is_drained:
            self.teller.open(self.target.release, now=self._now, onset=onset)

    def _say(self, kind: str, says: str) -> None:
        self.teller.say(kind, says, release=self.target.release, now=self._now)

    def _close(self) -> None:
        store = self.seen.store if self.seen else None
        is_moving = bool(store and store.move and store.move.kind is Kind.ROLLBACK)
        if self.incident is None or is_moving or not self._is_quiet or self._dead[1] or self.verdict is Verdict.BAD:
            return
        self.teller.close(release=self.target.release, now=self._now)
        self._decided, self.ruling = (), None
