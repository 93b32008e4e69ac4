"""A node in small: an engine, a gateway and their ills, and an agent that only calls core/, in tenths of a second."""

from collections.abc import Callable
from dataclasses import dataclass, field

from dsops.core.blame import Evidence, Peer, count_serving, judge_blame
from dsops.core.looks import (
    Cause,
    Death,
    Look,
    Outcome,
    ProbeSeen,
    Witness,
    judge_death,
    judge_loading,
    judge_probe,
    judge_progress,
)
from dsops.core.progress import Progress, find_stall
from dsops.core.remedy import Action, Remedy, Situation, decide
from dsops.core.status import Blame, Finding, Phase, Verdict
from dsops.core.verdict import Strikes, count_strikes, want_admit, want_eject

STEP = 0.1
ONSET = 60.0
PROBE_EVERY, PROBE_AGAIN, PROBE_ADMIT, PROBE_WAIT = 15.0, 2.5, 0.5, 5.0
WELL = (Peer("gpu2", serves=True), Peer("gpu3", serves=True))
ALL_ILL = (Peer("gpu2", "new", fails=True), Peer("gpu3", "new", fails=True))
PROMPTS = tuple(f"p{number}" for number in range(1, 9))


@dataclass(frozen=True)
class Ill:
    """What is wrong from ONSET on. Times are seconds since ONSET.

    release: it belongs to the release `new`, so a restart does not cure it; else it belongs to the process.
    """

    name: str
    release: bool = False
    load: int = 8
    baking: bool = True
    kills: tuple[float, ...] = ()
    cause: Cause = Cause.KILLED
    lives: float | None = None
    frozen: bool = False
    wedged: bool = False
    wrong: bool = False
    one_token: bool = False
    slow: bool = False
    saturated: bool = False
    metrics_dead: bool = False
    gateway_wedged: bool = False
    clock_jumps: tuple[float, ...] = ()
    agent_restarts: tuple[float, ...] = ()
    loads: float = 3.0
    loads_after: float = 3.0
    findings: tuple[Finding, ...] = ()
    peers: Callable[[float], tuple[Peer, ...]] = lambda _: WELL
    target: str = "old"
    seconds: float = 180.0


@dataclass
class Node:
    """The engine and the gateway; what the agent may see of them."""

    ill: Ill
    release: str = "new"
    now: float = 0.0
    pid: int = 1
    alive: bool = True
    started: float = -100.0
    serial: int = 1
    generated: float = 0.0
    relayed: float = 0.0
    gateway_serial: int = 1
    clock_jumped_at: float = -100.0
    deaths: list[Death] = field(default_factory=list)

    @property
    def is_ill(self) -> bool:
        """The ill is there: of the release as long as it is active, of the process as long as it is the first."""
        return self.now >= ONSET and (self.release == "new" if self.ill.release else self.serial == 1)

    @property
    def is_loaded(self) -> bool:
        loads = self.ill.loads if self.serial == 1 or self.release != "new" else self.ill.loads_after
        return self.alive and self.now - self.started >= loads

    @property
    def phase(self) -> Phase:
        if self.alive and self.is_loaded:
            return Phase.UNKNOWN if self.is_ill and self.ill.frozen else Phase.SERVING
        return Phase.LOADING  # systemd starts it again two seconds later

    @property
    def moves(self) -> bool:
        ill = self.ill
        return self.is_loaded and not (self.is_ill and (ill.frozen or ill.wedged or ill.one_token))

    @property
    def gateway_lives(self) -> bool:
        return not (self.ill.gateway_wedged and self.now >= ONSET and self.gateway_serial == 1)

    def advance(self, *, ejected: bool, probed: bool) -> Death | None:
        """One step of time; the death that happened in it."""
        self.now = round(self.now + STEP, 3)
        busy = probed or (not ejected and self.ill.load and self.gateway_lives)
        if self.moves and busy:
            self.generated += 1
            self.relayed += self.gateway_lives
        if not self.alive and self.now - self.started >= 2.0:
            self.alive, self.started, self.pid = True, self.now, self.pid + 1
        if self.now in [round(ONSET + at, 3) for at in self.ill.clock_jumps]:
            self.clock_jumped_at = self.now
        killed = self.now in [round(ONSET + at, 3) for at in self.ill.kills] and self.release == "new"
        spent = self.ill.lives is not None and self.is_ill and self.now - self.started >= self.ill.lives
        return self.die(self.ill.cause) if self.alive and (killed or spent) else None

    def die(self, cause: Cause, *, expected: bool = False) -> Death:
        self.alive, self.started = False, self.now
        self.serial += 1
        death = Death(self.now, self.pid, cause, expected=expected)
        self.deaths.append(death)
        return death

    def sample(self, *, ejected: bool) -> Progress:
        ill = self.ill
        silent = not self.alive or (self.is_ill and (ill.frozen or ill.metrics_dead))
        waits = ill.load if not ejected and self.gateway_lives else 0
        return Progress(
            at=self.now,
            generated=None if silent else self.generated,
            iterations=None if silent else self.generated,
            running=None if silent else float(min(waits, 4)),
            waiting=None if silent else float(max(0, waits - 4)),
            relayed=self.relayed if self.gateway_lives else None,
            in_flight=waits if self.gateway_lives else None,
            answers=not (self.is_ill and ill.frozen) and self.alive,
        )


@dataclass(frozen=True)
class Event:
    """What was decided. at: seconds since ONSET."""

    at: float
    what: str
    says: str


class Agent:
    """Does with core/ what the node's agent does; no I/O."""

    def __init__(self, ill: Ill) -> None:
        self.ill = ill
        self.node = Node(ill)
        self.strikes = Strikes()
        self.history: list[Progress] = []
        self.ejected = False
        self.began = -1000.0
        self.restarted_at: float | None = None
        self.gateway_restarted = False
        self.probing: dict[Witness, tuple[float, str]] = {}
        self.next_probe = 0.0
        self.asked = 0
        self.slot_ok_at: float | None = None
        self.last_rollback: float | None = None
        self.events: list[Event] = []
        self.said: set[tuple[str, str]] = set()
        self.seen: dict[Witness, set[str]] = {}
        self.paged = False
        self.shown: list[int] = []

    def run(self) -> "Agent":
        while self.node.now < ONSET + self.ill.seconds:
            death = self.node.advance(ejected=self.ejected, probed=bool(self.probing))
            if death:
                self._add(judge_death(death))
            self._probe()
            if abs(self.node.now - round(self.node.now)) < STEP / 2:
                self._tick()
            self._act()
        return self

    def _tick(self) -> None:
        if any(abs(self.node.now - ONSET - at) < 0.5 for at in self.ill.agent_restarts) and self.began < ONSET:
            self.strikes, self.history, self.began, self.probing = Strikes(), [], self.node.now, {}
            self._say("agent restarted", "")
        self.history = [*self.history, self.node.sample(ejected=self.ejected)][-60:]
        self._add(judge_progress(self.history, now=self.node.now))
        if self.node.alive and not self.node.is_loaded:
            self._add(judge_loading(now=self.node.now, since=self.node.started, allowed=20.0))
        stall = find_stall(self.history, now=self.node.now)
        self.shown.append(count_strikes(self.strikes, stall=stall))

    # --- probes ---

    def _probe(self) -> None:
        if not self.probing and self.node.now >= self.next_probe:
            self.probing = {who: (self.node.now, self._next_prompt()) for who in (Witness.SLOT, Witness.GATEWAY)}
        for who, (began, prompt) in list(self.probing.items()):
            if seen := self._ask(who, began, prompt):
                del self.probing[who]
                self._judge(seen)
        if not self.probing and self.next_probe <= self.node.now:
            wait = PROBE_AGAIN if self.strikes.bad else PROBE_ADMIT if self.ejected else PROBE_EVERY
            self.next_probe = self.node.now + wait

    def _next_prompt(self) -> str:
        self.asked += 1
        return PROMPTS[self.asked % len(PROMPTS)]

    def _ask(self, who: Witness, began: float, prompt: str) -> ProbeSeen | None:
        """None while the answer is on its way."""
        node, ill, now = self.node, self.ill, self.node.now
        waited = now - began
        if waited < STEP:
            return None
        if who is Witness.GATEWAY and not node.gateway_lives:
            return ProbeSeen(who, prompt, began, now, Outcome.TIMEOUT) if waited >= PROBE_WAIT else None
        if not node.alive or not node.is_loaded:
            failed = Outcome.REFUSED if who is Witness.SLOT else Outcome.FAILED
            return ProbeSeen(who, prompt, began, now, failed, status=503, says="not ready")
        if node.is_ill and (ill.slow or ill.saturated or not node.moves):
            came = began + STEP if ill.one_token else now - 0.5 if ill.slow else None
            seen = ProbeSeen(who, prompt, began, now, Outcome.TIMEOUT, True if came else None, came)
            return seen if waited >= PROBE_WAIT else None
        right = not (node.is_ill and ill.wrong)
        return ProbeSeen(who, prompt, began, now, Outcome.ANSWERED, right, now, 200, "" if right else "7")

    def _judge(self, seen: ProbeSeen) -> None:
        relayed = [one.relayed for one in self.history if one.at >= seen.ended - 3 and one.relayed is not None]
        look = judge_probe(
            seen,
            find_stall(self.history, now=seen.ended, busy_since=seen.began),
            phase=self.node.phase,
            clock_jumped=seen.began <= self.node.clock_jumped_at <= seen.ended,
            agent_age=seen.ended - self.began,
            relay_moved=len(set(relayed)) > 1,
            slot_ok_at=self.slot_ok_at,
        )
        if look.witness is Witness.SLOT and look.verdict is Verdict.OK:
            self.slot_ok_at = look.at
        self._add(look)

    def _add(self, look: Look) -> None:
        first = look.verdict is Verdict.BAD and not self.strikes.bad
        self.strikes = self.strikes.add(look)
        if self.node.now >= ONSET:
            self.seen.setdefault(look.witness, set()).add(f"{look.verdict} {look.code}")
        if look.verdict is Verdict.BAD:
            self._say("first BAD" if first else "BAD", f"{look.witness} {look.code}: {look.says}")

    # --- what follows ---

    def _act(self) -> None:
        peers = self.ill.peers(self.node.now - ONSET)
        serving = count_serving(peers)
        if not self.ejected and (why := want_eject(self.strikes, peers_serving=serving)):
            self.ejected = True
            self._say("EJECTED", why)
        elif self.ejected and want_admit(self.strikes, peers_serving=serving):
            self.ejected = False
            self._say("admitted", "")
        if self.strikes.find_verdict(self.node.now) is Verdict.BAD:
            self._do(self._decide(peers), peers)

    def _decide(self, peers: tuple[Peer, ...]) -> Remedy:
        evidence = Evidence(
            at=self.node.now,
            strikes=self.strikes,
            release=self.node.release,
            baking=self.ill.baking and self.node.release == "new",
            restarted=self.restarted_at is not None,
            clock_jumped=self.node.now - self.node.clock_jumped_at < 30,
            deaths=tuple(d for d in self.node.deaths if self.node.now - d.at < 600),
            findings=self.ill.findings,
            peers=peers,
            peers_asked=2,
            last_rollback_at=self.last_rollback,
        )
        self.ruling = judge_blame(evidence)
        return decide(
            Situation(
                verdict=Verdict.BAD,
                evidence=evidence,
                ruling=self.ruling,
                target=self.ill.target if self.node.release == "new" else "",
                rollbacks_left=2,
                restarts_left=2 - (self.restarted_at is not None),
                gateway_restarted=self.gateway_restarted,
                held="the agent just started" if self.node.now - self.began < 120 else "",
            )
        )

    def _do(self, remedy: Remedy, peers: tuple[Peer, ...]) -> None:
        what = {Action.RESTART: f"RESTART {remedy.unit}", Action.ROLLBACK: "ROLLBACK"}.get(remedy.action, remedy.action)
        said = f"{self.ruling.blame}: {remedy.says}; {remedy.next}"
        self._say(what, said)
        self.paged = self.paged or remedy.page
        if remedy.action is Action.RESTART and remedy.unit == "gateway":
            self.node.gateway_serial, self.gateway_restarted = 2, True
            self.strikes = Strikes()
        elif remedy.action is Action.RESTART:
            self.node.die(Cause.UNKNOWN, expected=True)
            self.restarted_at = self.node.now
            self._begin_anew()
        elif remedy.action is Action.ROLLBACK:
            self.node.release, self.node.alive, self.node.started = "old", True, -100.0
            self.node.serial, self.last_rollback = self.node.serial + 1, self.node.now
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.strikes, self.history, self.probing, self.said = Strikes(), [], {}, set()
        self.next_probe = self.node.now + PROBE_ADMIT

    def _say(self, what: str, says: str) -> None:
        known = (what, says.partition(":")[0] if what == "BAD" else says)
        if known not in self.said:
            self.events.append(Event(round(self.node.now - ONSET, 1), what, says))
            self.said.add(known)

    # --- questions ---

    def at(self, what: str) -> float | None:
        """When it was first decided, None never."""
        return next((event.at for event in self.events if event.what == what), None)

    @property
    def actions(self) -> list[str]:
        return [e.what for e in self.events if e.what.startswith(("RESTART", "ROLLBACK", "halt"))]

    @property
    def blame(self) -> Blame | None:
        return self.ruling.blame if hasattr(self, "ruling") else None

    def tell(self) -> str:
        lines = [f"--- {self.ill.name}"]
        lines += [f"  {event.at:+7.1f} s  {event.what:<16} {event.says}" for event in self.events]
        return "\n".join(lines)
