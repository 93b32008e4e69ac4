"""A node that is played second by second around a Watch: engine, gateway, store, peers and clocks are pretended."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dsops.core import events as core
from dsops.core import node as brain
from dsops.core.blame import Peer
from dsops.core.errors import DsopsError
from dsops.core.progress import Progress
from dsops.core.prompts import Prompt
from dsops.core.release import Probe as Bounds
from dsops.core.state import WAITS, Active, Epoch, Held, NodeState, Policy, Stage
from dsops.core.status import Finding, Phase, Proof
from dsops.node.agent.events import (
    WHO,
    Admit,
    AskPeers,
    Call,
    Died,
    Effect,
    Eject,
    Event,
    HelperTold,
    Inspect,
    Inspected,
    LookNow,
    Now,
    PeersTold,
    Probe,
    Probed,
    Prove,
    Proved,
    Seen,
    SlotSeen,
    StopProving,
    Ticked,
    TrafficTold,
)
from dsops.node.agent.incident import Incident
from dsops.node.agent.prove import Refusal
from dsops.node.agent.settings import Settings
from dsops.node.agent.situation import find_canary
from dsops.node.agent.watch import Restarts, Watch
from dsops.node.sources.gateway import Ejected, GatewayStatus, SlotTraffic
from dsops.node.sources.golden import Golden
from dsops.node.sources.http import Failure
from dsops.node.sources.probe import Heard
from dsops.node.sources.units import Unit

PROMPTS = tuple(Prompt(f"p{n}", f"question {n}", ("right answer",), 8) for n in range(5))
BOUNDS = Bounds(load_seconds=60, answer_seconds=5, tokens=16)
WALL = 1_000_000.0
POLICY = Policy()
PEERS = (Peer("gpu2", "r1", serves=True), Peer("gpu3", "r1", serves=True))
RIGHT = Heard("right answer", "stop", 8, 0.05, 0.01, 0.05, 200)
WRONG = Heard("rubbish", "stop", 8, 0.05, 0.01, 0.05, 200)
SILENT = Heard(failure=Failure.TIMEOUT, error="no whole answer in 5 s")
STALLED = Heard("right", failure=Failure.TIMEOUT, error="no whole answer in 5 s", first_seconds=0.1, last_seconds=0.2)
REFUSED = Heard(failure=Failure.REFUSED, error="connection refused")


@dataclass
class Engine:
    """What runs in a slot. mode: right, wrong, hung, stall, slow. loaded_at: when it is ready. pid 0: nothing runs."""

    release: str = ""
    mode: str = "right"
    pid: int = 0
    restarts: int = 0
    started: float = 0.0
    loaded_at: float = 0.0
    active: str = "inactive"
    result: str = "success"
    status: int = 0
    generated: float = 0.0
    load_seconds: float = 1.0


@dataclass
class World:
    """Times in seconds; `now` begins at 0. modes: release -> how its engine behaves.

    surroundings: what the helper says to `environment`.
    """

    state: NodeState = field(default_factory=lambda: make_state())
    settings: Settings = field(default_factory=lambda: Settings("gpu1", hold_seconds=0.0))
    modes: dict[str, str] = field(default_factory=dict)
    load: bool = True
    waiting: float = 0.0
    peers: tuple[Peer, ...] = PEERS
    silent: int = 0  # so many asks that no peer answers
    findings: tuple[Finding, ...] = ()
    helper_says: str = ""
    now: float = 0.0
    skew: float = 0.0
    restarts: Restarts | None = None
    surroundings: str = ""

    def __post_init__(self) -> None:
        self.settings = replace(self.settings, has_peers=bool(self.peers))
        self.engines = {slot: Engine() for slot in ("a", "b")}
        self.lane = self.state.active.slot if self.state.active else ""
        self.ejected: Ejected | None = None
        self.gateway_is_up, self.gateway_is_wedged, self.drained = True, False, ""
        self.maintenance = ""
        self.seq = 1
        self.log: list[tuple[float, str]] = []
        self.calls: list[Call] = []
        self.stories: list[Incident] = []
        self._pids = 100
        self._queue: list[tuple[float, int, Callable[[], Event | None]]] = []
        self._count = 0
        self._lasting: set[int] = set()
        for held in self.state.slots:
            if held.release:
                self.start(held.slot, held.release, loading=0.0)
        self.watch = self.begin()

    def begin(self) -> Watch:
        """A new life of the agent."""
        self.watch = Watch(self.settings, now=self.clock(), restarts=self.restarts, record=self.stories.append)
        # What was on its way to the life before is lost with it; what the world does by itself goes on.
        self._queue = sorted((one for one in self._queue if one[1] in self._lasting), key=lambda one: one[:2])
        self.at(self.now, self._tick)
        return self.watch

    def clock(self) -> Now:
        return Now(self.now, WALL + self.now + self.skew)

    # --- time ---------------------------------------------------------------------------------------------------

    def at(self, when: float, make: Callable[[], Event | None], *, lasting: bool = False) -> None:
        self._count += 1
        self._lasting |= {self._count} if lasting else set()
        heapq.heappush(self._queue, (when, self._count, make))

    def run(self, seconds: float) -> None:
        """So much time goes by."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            when, _, make = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            event = make()
            for effect in self.watch.take(event) if event else ():
                self._do(effect)
        self.now = end

    def run_until(self, told: str, *, within: float) -> float:
        """Until something was done; the seconds that it took."""
        began, count = self.now, len(self.log)
        while self.now - began < within:
            self.run(0.05)
            if any(one.startswith(told) for _, one in self.log[count:]):
                return self.now - began
        raise AssertionError(f"no {told!r} within {within} s: {self.log[count:]}")

    def _tick(self) -> Event:
        self.at(self.now + 1.0, self._tick)
        return self._look()

    def _look(self) -> Event:
        return Ticked(self.clock(), self.see())

    # --- what is there ------------------------------------------------------------------------------------------

    def start(self, slot: str, release: str, *, loading: float | None = None) -> None:
        self._pids += 1
        before = self.engines[slot]
        seconds = before.load_seconds if loading is None else loading
        self.engines[slot] = Engine(
            release, self.modes.get(release, "right"), self._pids, 0, self.now, self.now + seconds, "active"
        )

    def kill(self, slot: str = "a", *, result: str = "signal", status: int = 9, again: bool = True) -> None:
        """The process dies; systemd starts it again 2 s later."""
        engine = self.engines[slot]
        pid, engine.pid = engine.pid, 0
        engine.active, engine.result, engine.status = "activating", result, status
        self.at(self.now + 0.01, lambda: Died(self.clock(), slot, pid))
        if again:
            self.at(self.now + 2.0, lambda: self._restart_by_systemd(slot), lasting=True)

    def stop(self, slot: str = "a") -> None:
        """A person stops the unit."""
        engine = self.engines[slot]
        pid, engine.pid, engine.active = engine.pid, 0, "inactive"
        self.at(self.now + 0.01, lambda: Died(self.clock(), slot, pid))

    def _restart_by_systemd(self, slot: str) -> None:
        engine = self.engines[slot]
        if engine.pid or engine.active != "activating":
            return
        self._pids += 1
        engine.pid, engine.restarts, engine.active, engine.result = self._pids, engine.restarts + 1, "active", "success"
        engine.started, engine.loaded_at = self.now, self.now + engine.load_seconds
        engine.mode = self.modes.get(engine.release, "right")

    def see(self) -> Seen:
        active, canary = self._see_slot(self.lane), find_canary(self.state)
        return Seen(
            **{one.name: getattr(active, one.name) for one in fields(active)},
            gateway=self._find_gateway(),
            store=self.state,
            seq=self.seq,
            findings=self.findings,
            canary=self._see_slot(canary.slot) if canary else None,
            maintenance=self.maintenance,
        )

    def _see_slot(self, slot: str) -> SlotSeen:
        engine = self.engines.get(slot, Engine())
        return SlotSeen(
            slot=slot,
            release=engine.release,
            phase=self._find_phase(engine),
            unit=self._find_unit(slot),
            progress=self._find_progress(engine),
            golden=Golden(engine.release, "m", BOUNDS, PROMPTS) if engine.release else None,
        )

    def _find_phase(self, engine: Engine) -> Phase:
        if engine.pid == 0:
            return Phase.LOADING if engine.active == "activating" else Phase.STOPPED
        if self.now < engine.loaded_at:
            return Phase.LOADING
        return Phase.UNKNOWN if engine.mode == "stopped" else Phase.SERVING

    def _find_unit(self, slot: str) -> Unit:
        e = self.engines.get(slot, Engine())
        return Unit(
            f"triton@{slot}.service", e.active, "x", e.result, e.status, e.restarts, pid=e.pid, started=e.started
        )

    def _find_progress(self, engine: Engine) -> Progress:
        is_well = engine.pid != 0 and self.now >= engine.loaded_at and engine.mode not in ("hung", "stall", "stopped")
        if is_well and self.load:
            engine.generated += 100.0 if engine.mode != "slow" else 5.0
        work = 4 if self.load and self.ejected is None else (2 if not is_well and self.load else 0)
        if engine.pid == 0 or engine.mode == "stopped":
            return Progress(self.now, in_flight=work, answers=False)
        total = engine.generated
        relayed, in_flight = (None, None) if self.gateway_is_wedged else (total, work)
        return Progress(
            self.now,
            total,
            total,
            total,
            running=work,
            waiting=self.waiting,
            relayed=relayed,
            in_flight=in_flight,
            answers=True,
        )

    def _find_gateway(self) -> GatewayStatus:
        if not self.gateway_is_up or self.gateway_is_wedged:
            return GatewayStatus(reason="it does not answer")
        slots = {slot: SlotTraffic(1, engine.generated) for slot, engine in self.engines.items()}
        return GatewayStatus(drained=self.drained or None, ejected=self.ejected, slots=slots)

    # --- what the watch wants -----------------------------------------------------------------------------------

    def _do(self, effect: Effect) -> None:
        match effect:
            case Probe():
                self._do_probe(effect)
            case Eject() | Admit():
                self.at(self.now + 0.01, lambda: self._tell_gateway(effect))
            case AskPeers():
                self.silent, answers = max(0, self.silent - 1), () if self.silent else self.peers
                self.at(self.now + 0.1, lambda: PeersTold(self.clock(), answers, len(self.peers)))
            case Inspect():
                self.at(self.now + 0.02, lambda: Inspected(self.clock(), effect, self._find_unit(effect.slot)))
            case Prove():
                self.log.append((self.now, f"prove {effect.move.release}"))
                self.at(self.now + 1.5, lambda: self._do_prove(effect))
            case Call():
                self.calls.append(effect)
                seconds = 0.5 if effect.verb == "restart" else 0.05
                self.at(self.now + seconds, lambda: self._ask_helper(effect, seconds))
            case LookNow():
                self.at(self.now, self._look)
            case StopProving():
                self.log.append((self.now, "stop proving"))

    def _do_probe(self, probe: Probe) -> None:
        engine = self.engines[probe.slot]
        heard, seconds = self._hear(engine)
        if probe.witness == "gateway" and self.gateway_is_wedged:
            heard, seconds = SILENT, float(BOUNDS.answer_seconds)
        if probe.witness == "gateway" and not self.gateway_is_up:
            heard, seconds = REFUSED, 0.01
        self.at(self.now + seconds, lambda: Probed(self.clock(), probe, heard))

    def _hear(self, engine: Engine) -> tuple[Heard, float]:
        if engine.pid == 0 or self.now < engine.loaded_at:
            return REFUSED, 0.01
        return {
            "right": (RIGHT, 0.05),
            "wrong": (WRONG, 0.05),
            "hung": (SILENT, 5.0),
            "stopped": (SILENT, 5.0),
            "stall": (STALLED, 5.0),
            "slow": (replace(STALLED, last_seconds=4.9), 5.0),
        }[engine.mode]

    def _tell_gateway(self, effect: Eject | Admit) -> Event:
        if not self.gateway_is_up or self.gateway_is_wedged:
            return TrafficTold(self.clock(), effect, "it does not answer")
        self.ejected = Ejected(effect.reason, WHO) if isinstance(effect, Eject) else None
        self.log.append((self.now, "eject" if self.ejected else "admit"))
        return TrafficTold(self.clock(), effect)

    def _do_prove(self, effect: Prove) -> Event:
        move = effect.move
        is_right = self.modes.get(move.release, "right") not in ("wrong", "hung")
        proof = Proof(move.release, self.clock().wall, 5, 5, 1.0, 100.0)
        return Proved(self.clock(), move, proof if is_right else Refusal("5 of 5 golden answers are wrong", True))

    # --- the helper, with the real brain ------------------------------------------------------------------------

    def _ask_helper(self, call: Call, seconds: float) -> Event:
        if self.helper_says:
            return HelperTold(self.clock(), call, self.helper_says)
        try:
            self._obey(call)
        except DsopsError as error:
            return HelperTold(self.clock(), call, str(error))
        self.log.append((self.now, f"{call.verb} {call.get('unit') or self.state.halted or ''}".strip()))
        said = {"environment": self.surroundings} if call.verb == "environment" else {}
        return HelperTold(self.clock(), call, "", seconds, said)

    def _obey(self, call: Call) -> None:
        wall = self.clock().wall
        if call.verb == "restart":
            self.handle(core.Restarted(at=wall))
            if call.get("unit") == "slot":
                engine = self.engines[self.lane]
                self.start(self.lane, engine.release)
            else:
                self.gateway_is_wedged, self.ejected, self.gateway_is_up = False, None, True
        elif call.verb == "rollback":
            warm = tuple(slot for slot, engine in self.engines.items() if engine.pid)
            words = {"own": True, "lasting": bool(call.get("lasting")), "warm": warm}
            self.handle(core.Rollback(at=wall, who=WHO, reason=str(call.get("reason")), **words))  # type: ignore[arg-type]
        elif call.verb == "proven":
            self.handle(core.Proven(at=wall))
        elif call.verb == "refuted":
            words = {"reason": str(call.get("reason")), "lasting": bool(call.get("lasting"))}
            words["release"] = str(call.get("release"))
            self.handle(core.Refuted(at=wall, **words))  # type: ignore[arg-type]
        elif call.verb == "age":
            self.handle(core.Aged(at=wall))
        elif call.verb == "halt":
            self.handle(core.Halt(reason=str(call.get("reason"))))
        elif call.verb == "recover":
            self.finish(brain.pending_effects(self.state))

    def handle(self, event: Any, *, cut: bool = False) -> None:
        """cut: the helper is killed after it wrote the journal, before the effects."""
        self.state, effects = brain.step(self.state, event, POLICY)
        self.seq += 1
        if not cut:
            self.finish(effects)

    def finish(self, effects: tuple[core.Effect, ...]) -> None:
        while self.state.move and self.state.move.step not in WAITS:
            for effect in effects:
                self._apply(effect)
            self.state, effects = brain.step(self.state, core.Done(at=self.clock().wall), POLICY)
            self.seq += 1

    def _apply(self, effect: core.Effect) -> None:
        if isinstance(effect, core.Link):
            self.engines[effect.slot].release = effect.release
        elif isinstance(effect, core.Start):
            self.start(effect.slot, self.engines[effect.slot].release)
        elif isinstance(effect, core.Stop):
            engine = self.engines[effect.slot]
            pid, engine.pid, engine.active = engine.pid, 0, "inactive"
            if pid:
                self.at(self.now + 0.01, lambda: Died(self.clock(), effect.slot, pid))
        elif isinstance(effect, core.Lanes):
            self.lane = effect.slot if effect.share == 100 else effect.other
            share = f" {effect.share}" if effect.share < 100 else ""
            self.log.append((self.now, f"lanes {effect.slot}{share}"))

    def activate(self, release: str, **changes: Any) -> None:
        self.handle(core.Activate(release, self.clock().wall, "ann", "try", **changes))

    def widen(self, release: str, share: int) -> None:
        self.handle(core.Widen(release, share, self.clock().wall, "ann", "go on"))

    def did(self, *kinds: str) -> list[str]:
        """What was done, of these kinds."""
        return [one for _, one in self.log if one.startswith(kinds)]


def make_state(*, stage: Stage = Stage.BAKING, warm: bool = True) -> NodeState:
    """r2 has the traffic in slot a since 10 min before; r1, known to be good, waits in slot b."""
    return NodeState(
        slots=(Held("a", "r2"), Held("b", "r1" if warm else "")),
        active=Active("r2", "a", WALL - (600.0 if stage is Stage.BAKING else 90000.0), stage),
        fallbacks=(Active("r1", "b", WALL - 200000.0, Stage.KNOWN_GOOD),),
        epoch=Epoch(1, "control"),
    )
