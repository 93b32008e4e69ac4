"""The agent's judgement over time: looks become strikes, strikes move traffic, verdicts become acts.

It does nothing itself and has no clock: `take` is told what happened and answers what should be done. Tests play
whole incidents with it, second by second, without waiting.
"""

from dataclasses import dataclass, field, replace

from dsops.core.blame import Ruling, judge_blame
from dsops.core.breaker import Breaker
from dsops.core.checks import find_drain
from dsops.core.looks import is_clock_jump
from dsops.core.remedy import Action, Remedy, decide
from dsops.core.state import Kind
from dsops.core.status import Finding, Verdict
from dsops.core.verdict import OK_SECONDS, SHOWN_SECONDS, Strikes, want_admit, want_eject
from dsops.node.agent.canary import Beside, CanaryWatch
from dsops.node.agent.driver import VERBS, Driver
from dsops.node.agent.events import (
    WHO,
    Alarmed,
    Call,
    Died,
    Effect,
    Event,
    HelperTold,
    Inspected,
    LookNow,
    Now,
    PeersTold,
    Probed,
    ProbeLost,
    ProofLost,
    Proved,
    Seen,
    Side,
    Ticked,
    TrafficTold,
)
from dsops.node.agent.eyes import Eyes, Target
from dsops.node.agent.grounds import Grounds
from dsops.node.agent.heard import Heard
from dsops.node.agent.incident import Incident
from dsops.node.agent.settings import Settings
from dsops.node.agent.situation import Facts, Surroundings, find_evidence, find_situation, is_baking
from dsops.node.agent.teller import Note, Record, Teller
from dsops.node.agent.traffic import Traffic

# Of nodes that fall ill together one must stay: who leaves has just heard that another serves.
PEERS_EJECT_SECONDS = 1.0
PEERS_FRESH_SECONDS = 3.0
PEERS_DECIDE_SECONDS = 6.0
FAILED_AGAIN_SECONDS = 30.0
DONE_PAUSE_SECONDS = 5.0
# After the bake window a verdict waits so long before it is acted upon, and then asks the peers: what befalls all
# nodes in one second must be seen as that by each of them. Longer than a tick and an answer.
SETTLE_SECONDS = 2.0
# So long a restart by dsops counts as the test of blame: failing again within it means the release.
RESTART_MEMORY_SECONDS = 3600.0
# The helper's word for what surrounds a release.
ENVIRONMENT = "environment"


@dataclass(frozen=True)
class Restarts:
    """When dsops last restarted what, by the wall clock; kept over the agent's own restarts."""

    slot: float | None = None
    release: str = ""
    gateway: float | None = None


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
        surroundings: Surroundings | None = None,
        breaker: Breaker | None = None,
        record: Record = lambda _: None,
        note: Note = lambda *_: None,
    ) -> None:
        self.settings = settings
        self.driver = Driver(settings.policy)
        self.traffic = Traffic()
        self.teller = Teller(settings.node, record=record, note=note)
        self.eyes = Eyes(Side.ACTIVE, now=now, teller=self.teller)
        self.grounds = Grounds(breaker or Breaker(), keep=settings.keep_serving)
        self.canary = CanaryWatch(settings, now=now, record=record, note=note)
        self.counters = Counters(self.eyes.counts)
        self.ruling: Ruling | None = None
        self.heard = Heard()
        self.restarts = restarts or Restarts()
        self.surroundings = surroundings or Surroundings()
        self.seen: Seen | None = None
        self._began = self._now = self._before = now
        self._acting: Call | None = None
        self._restarts_before = self.restarts
        self._again_at = float("-inf")
        self._decided: tuple[object, ...] = ()
        self._looked_round: tuple[object, ...] = ()
        # Why nothing is done here by itself: a person drained the node, or is at work on it; "" = it may be.
        self._only_looks = ""

    # --- what others may ask ------------------------------------------------------------------------------------

    @property
    def target(self) -> Target:
        """What has the traffic."""
        return self.eyes.target

    @property
    def strikes(self) -> Strikes:
        """What speaks against it now."""
        return self.eyes.strikes

    @property
    def verdict(self) -> Verdict:
        """As of the last event."""
        return self.eyes.verdict

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
        effects += self.heard.ask() if self._want_peers else []
        effects += self._look_round()
        effects += self._probe()
        self._close()
        effects += self.canary.take(event, Beside(self.seen, self.eyes, bool(self._only_looks)))
        return effects

    def _take(self, event: Event) -> list[Effect]:
        match event:
            case Ticked():
                self._take_tick(event)
            case Alarmed() if self.seen:
                self.seen = replace(self.seen, findings=event.findings)
            case Probed() if event.probe.side is Side.ACTIVE:
                self.canary.sampling.take(event, self.eyes.take_probe(event))
            case ProbeLost() if event.probe.side is Side.ACTIVE:
                self.eyes.lose(event.probe)
            case Died():
                return self._take_death(event)
            case Inspected():
                self.eyes.take_inspection(event)
            case TrafficTold():
                if self.traffic.take(event):
                    self._say("ejected", "the gateway refuses new requests")
            case PeersTold():
                self.heard.take(event)
            case Proved():
                self.driver.take_proof(event)
            case ProofLost():
                self.driver.lose_proof(event.move)
            case HelperTold() if not self.canary.is_mine(event.call):
                return self._take_helper(event)
        return []

    def _move_clock(self, now: Now) -> None:
        before, self._before = self._before, now
        self._now = self.eyes.now = now
        if is_clock_jump(wall=now.wall, ticks=now.ticks, wall_before=before.wall, ticks_before=before.ticks):
            self.eyes.jumped_at = now.ticks
            self._say("clock", f"the clock jumped by {now.wall - before.wall - (now.ticks - before.ticks):+.0f} s")

    # --- a tick -------------------------------------------------------------------------------------------------

    def _take_tick(self, event: Ticked) -> None:
        seen, before_it = event.seen, self._only_looks
        self.seen = seen
        adopted = self.traffic.hear(seen.gateway)
        self._only_looks = "drained" if self.traffic.is_drained else "in maintenance" if seen.maintenance else ""
        self.eyes.is_muted = bool(self._only_looks)
        target, before = Target(seen.slot, seen.release), self.target
        if target != before:
            says = f"{target.release or 'no release'} in slot {target.slot or '-'} has the traffic"
            self._begin_life(target, says if before.slot else "")
        elif bool(before_it) != bool(self._only_looks):
            is_unproven = bool(before_it) and not self._has_answered(seen)
            over = f"not {before_it} any more: the checks begin afresh"
            self._begin_life(target, f"{self._only_looks}: dsops only looks" if self._only_looks else over)
            if is_unproven:
                self._want_away(f"it has not answered right since it was {before_it}")
        if adopted is not None:
            # It comes back only after OK looks.
            self._want_away(adopted)
        self.eyes.see(seen)

    def _has_answered(self, seen: Seen) -> bool:
        """Whether the slot was seen to answer right of late, or nobody can ask it."""
        at = self.eyes.ok_at
        return seen.golden is None or (at is not None and self._now.ticks - at <= OK_SECONDS)

    def _begin_life(self, target: Target, says: str) -> None:
        self._decided = ()
        self.traffic.since = self._now.ticks
        self.eyes.begin(target, says=says)

    # --- deaths -------------------------------------------------------------------------------------------------

    def _take_death(self, event: Died) -> list[Effect]:
        seen = self.seen
        if seen is None or event.slot != self.target.slot or self._only_looks or self._is_ours(event.slot):
            return [LookNow()]
        inspect = self.eyes.take_death(event)
        self._want_away(f"the engine's process {event.pid} ended")
        return [inspect, LookNow()]

    def _is_ours(self, slot: str) -> bool:
        """Whether dsops itself is about to stop or start that slot."""
        move = self.seen.store.move if self.seen and self.seen.store else None
        is_moved = move is not None and (slot in (move.slot, move.stops) or move.alone)
        return is_moved or (self._acting is not None and self._acting.get("unit") == "slot")

    # --- traffic ------------------------------------------------------------------------------------------------

    def _want_away(self, reason: str) -> None:
        if self.traffic.want_away(reason, now=self._now):
            self._say("eject", f"traffic is taken away: {reason}")

    def _find_wish(self) -> None:
        if self.traffic.wish is None:
            serving = self._count_serving(PEERS_EJECT_SECONDS)
            reason = None if self._only_looks else want_eject(self.strikes, peers_serving=serving)
            if reason:
                self._want_away(reason)
            else:
                self._leave_for_a_finding(serving, seconds=PEERS_EJECT_SECONDS)
        elif self._want_back(serving := self._count_serving(PEERS_DECIDE_SECONDS)):
            # It left because its engine died, say, which answers again: the GPU that is gone keeps it away.
            if self.grounds.finding is None and self._leave_for_a_finding(serving, seconds=PEERS_DECIDE_SECONDS):
                return
            self.grounds.finding = None
            self._say("admit", "traffic is let in again: it answers right, also through the gateway")
            self.traffic.want_back()

    def _leave_for_a_finding(self, serving: int, *, seconds: float) -> bool:
        """Whether a check has this server out of traffic now, whatever its engine answers; peers are asked first.

        seconds: so old may be what they said.
        """
        finding = self._find_grounds()
        if finding is None or (self.settings.has_peers and not self._is_fresh(seconds)):
            return False
        if serving < self.grounds.keep and not self.heard.is_certain:
            return False
        says = f"{finding.entity}: {finding.reason}"
        if not self.grounds.take(finding, serving=serving, now=self._now):
            self._say("breaker", f"stays in traffic: {self.grounds.breaker.tripped}")
            return False
        self.eyes.open(self._now.ticks)
        self.ruling = Ruling(finding.blame, says)
        remedy = Remedy(Action.EJECT, says, f"{finding.measure} is asked for: {finding.mend}", page=True)
        self.teller.decide(self.ruling, remedy, release=self.target.release, now=self._now)
        self._want_away(says)
        return True

    def _find_grounds(self) -> Finding | None:
        """What asks for traffic to go away and may have it."""
        if self.seen is None or self._only_looks or self.grounds.breaker.tripped:
            return None
        return find_drain(self.seen.findings)

    def _count_serving(self, seconds: float) -> int:
        return self.heard.count_serving(seconds, now=self._now.ticks)

    def _want_back(self, serving: int) -> bool:
        """OK looks count from the moment on in which traffic was taken away, or something new began to run."""
        if self._acting:
            return False
        known = self._is_fresh(PEERS_DECIDE_SECONDS) or not self.settings.has_peers
        good = tuple(look for look in self.strikes.good if look.at > self.traffic.since)
        answers = known and self._is_shown and bool(good) and not self.strikes.bad
        if answers and self.heard.is_certain and self.grounds.give_way(serving=serving, now=self._now):
            self._say("breaker", self.grounds.breaker.tripped)
            return True
        if self.seen is None or not self.grounds.is_over(self.seen.findings):
            return False
        return want_admit(replace(self.strikes, good=good), peers_serving=serving if known else 1)

    @property
    def _is_shown(self) -> bool:
        """Whether the peers have seen for long enough that this server left, and it that they did."""
        return self.heard.at >= self.traffic.since + SHOWN_SECONDS

    # --- peers --------------------------------------------------------------------------------------------------

    @property
    def _want_peers(self) -> bool:
        enough = PEERS_EJECT_SECONDS if self.traffic.wish is None else PEERS_FRESH_SECONDS
        is_wanted = bool(self.strikes.bad or self.traffic.wish is not None or self._find_grounds())
        return self.settings.has_peers and is_wanted and not self._is_fresh(enough)

    def _is_fresh(self, seconds: float) -> bool:
        return self.heard.is_fresh(seconds, now=self._now.ticks)

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
            return self.heard.ask()
        facts = self._find_facts()
        evidence = find_evidence(facts)
        self.ruling = judge_blame(evidence)
        remedy = decide(find_situation(facts, evidence, self.ruling))
        return self._carry_out(self.ruling, remedy)

    def _find_facts(self) -> Facts:
        assert self.seen
        trouble = self.canary.find_trouble()
        seen = replace(self.seen, findings=(*self.seen.findings, trouble)) if trouble else self.seen
        return Facts(
            now=self._now,
            began=self._began,
            settings_hold=self.settings.hold_seconds,
            policy=self.settings.policy,
            seen=seen,
            strikes=self.strikes,
            deaths=self.eyes.deaths,
            peers=self.heard.peers,
            peers_asked=self.heard.asked,
            slot_restarted=self._find_restart(),
            gateway_restarted=self.restarts.gateway,
            jumped_at=self.eyes.jumped_at,
            surroundings=self.surroundings,
        )

    def _look_round(self) -> list[Effect]:
        """Asks what surrounds the release, when its process is a new one and when it begins to fail."""
        seen = self.seen
        active = seen.store.active if seen and seen.store else None
        if seen is None or active is None or not active.environment:
            return []  # there is nothing to compare with
        key = (seen.slot, seen.release, seen.unit.started, bool(self.strikes.bad))
        if key == self._looked_round:
            return []
        self._looked_round = key
        return [Call(ENVIRONMENT)]

    def _take_surroundings(self, event: HelperTold) -> list[Effect]:
        value = event.said.get("environment")
        if isinstance(value, str) and value and value != self.surroundings.value:
            self.surroundings = Surroundings(value, event.now.wall)
        return []

    def _find_restart(self) -> float | None:
        at = self.restarts.slot
        is_recent = at is not None and 0 <= self._now.wall - at <= RESTART_MEMORY_SECONDS
        return at if is_recent and self.restarts.release == self.target.release else None

    @property
    def _settled_at(self) -> float:
        """When the verdict may be acted upon. In the bake window nodes with the new release may fail together."""
        is_new = self.seen is not None and self.seen.store is not None and is_baking(self.seen.store)
        return self.eyes.verdict_at + (0.0 if is_new else SETTLE_SECONDS)

    @property
    def _is_settled(self) -> bool:
        return self._now.ticks >= self._settled_at

    @property
    def _have_peers_spoken(self) -> bool:
        """Since then, not long ago, and all of them, or in vain twice."""
        is_since = self._settled_at == self.eyes.verdict_at or self.heard.at >= self._settled_at
        return is_since and self.heard.is_certain and self._is_fresh(PEERS_DECIDE_SECONDS)

    def _carry_out(self, ruling: Ruling, remedy: Remedy) -> list[Effect]:
        key = (remedy.action, remedy.unit, remedy.next, ruling.blame)
        is_act = remedy.action in (Action.RESTART, Action.ROLLBACK, Action.HALT_AND_PAGE)
        if key == self._decided and not is_act:
            return []
        self._decided = key
        self.eyes.open(self._now.ticks)
        self.teller.decide(ruling, remedy, release=self.target.release, now=self._now)
        if remedy.action is Action.EJECT and self._count_serving(PEERS_DECIDE_SECONDS):
            self._want_away(remedy.says)
        return self._act(remedy) if is_act else []

    def _act(self, remedy: Remedy) -> list[Effect]:
        assert self.seen
        reason = self.eyes.last_bad or remedy.says
        if remedy.action is Action.RESTART:
            call = Call("restart", (("unit", remedy.unit), ("reason", reason)))
            self._remember(remedy.unit)
            if remedy.unit == "slot":
                self._want_away(reason)
        elif remedy.action is Action.ROLLBACK:
            # Of two releases the canary goes first, without its fault: its mark expires.
            beside, lasting = self.canary.move is not None, remedy.lasting and self.canary.move is None
            reason = f"the active release fails beside it: {reason}" if beside else reason
            words = (("who", WHO), ("reason", reason), ("own", True), ("lasting", lasting))
            call = Call("rollback", words)
        else:
            call = Call("halt", (("reason", f"{reason}; {remedy.next}"),))
        self._acting = call
        # First the traffic, then what interrupts it.
        return [*self.traffic.move(self._now), call]

    def _take_helper(self, event: HelperTold) -> list[Effect]:
        call = event.call
        if call.verb in VERBS:
            return self.driver.take_answer(event)
        if call.verb == ENVIRONMENT:
            return self._take_surroundings(event)
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
            self.canary.begin_afresh("the gateway was started afresh")
        self._begin_life(self.target, f"the {unit} was started afresh")

    # --- probes -------------------------------------------------------------------------------------------------

    def _probe(self) -> list[Effect]:
        seen = self.seen
        if seen is None:
            return []
        every, has_gateway = self._find_pace(), seen.gateway is not None
        paces = self.canary.find_paces(self.eyes, Side.ACTIVE, every=every, has_gateway=has_gateway)
        sides, has_canary = self.canary.sampling.sides, self.canary.move is not None
        probes = self.eyes.ask(seen.golden, paces, samples=Side.ACTIVE in sides, pinned=has_canary)
        self.canary.sampling.begin(probes)
        return list(probes)

    def _find_pace(self) -> float:
        pace = self.settings.pace
        if self.strikes.bad or self.canary.is_suspect:
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

    def _say(self, kind: str, says: str) -> None:
        self.eyes.say(kind, says)

    def _close(self) -> None:
        store = self.seen.store if self.seen else None
        is_moving = bool(store and store.move and store.move.kind is Kind.ROLLBACK)
        if (
            self.incident is None
            or is_moving
            or not self._is_quiet
            or self.eyes.has_lost
            or self.verdict is Verdict.BAD
        ):
            return
        self.teller.close(release=self.target.release, now=self._now)
        self._decided, self.ruling = (), None
