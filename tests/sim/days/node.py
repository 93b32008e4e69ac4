"""A node around the agent's real Watch and the real checks, whose quiet hours are skipped."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from dsops.core.progress import Progress
from dsops.core.prompts import Prompt
from dsops.core.state import Stage
from dsops.core.status import Blame, Finding, Verdict
from dsops.node.agent.config import AgentConfig, GatewayConfig
from dsops.node.agent.events import Admit, Alarmed, Call, Effect, Eject, Event, Seen, SlotSeen
from dsops.node.agent.judge import find_all
from dsops.node.agent.loop import find_told
from dsops.node.agent.settings import Settings
from dsops.node.agent.snapshot import Snapshot
from dsops.node.agent.watch import Watch
from dsops.node.sources.golden import Golden
from dsops.node.sources.host import Host
from dsops.node.sources.http import Failure
from dsops.node.sources.probe import Heard
from dsops.node.sources.slots import Ports
from dsops.node.sources.units import Unit

from tests.node.agent.world import BOUNDS, PEERS, RIGHT, SILENT, WRONG, Engine, World, make_state
from tests.node.checks.gpu_bed import RULES
from tests.sim.days.flakes import Flakes
from tests.sim.days.sights import BOOT, Sights

# As many golden prompts as tiny-r1 has.
PROMPTS = tuple(Prompt(f"p{n}", f"question {n}", ("right answer",), 8) for n in range(12))
ERROR = Heard(failure=Failure.ERROR, error="HTTP 500", status=500)
BUSY = Heard(failure=Failure.ERROR, error="overloaded: the queue is full", status=429)
# Ways in which an engine only makes it impossible to tell, beside those of World: what a probe hears, and how long.
UNTOLD: dict[str, tuple[Heard, float]] = {"busy": (BUSY, 0.01), "queued": (SILENT, 5.0), "untold": (SILENT, 5.0)}
CONFIG = AgentConfig("gpu1", "gpu", slots=(Ports("a", 1, 2), Ports("b", 3, 4)), gateway=GatewayConfig())
ACTS = ("restart", "rollback", "halt")
# A whole round of probes, by whether a release is on trial: seconds until each witness is where it was in its beat, and
# probes in that time (on trial the slot every 5 s, the gateway every 2 s; else both every 15 s).
PERIODS = {True: (10.0, 7), False: (15.0, 2)}
# Played before whatever comes next: all that the agent remembers is fresh by then.
RUN_IN_SECONDS, RUN_IN_ROUNDS = 17.0, 1


@dataclass(frozen=True)
class Act:
    """What dsops did by itself. cause: what had befallen the node since it was last quiet, the gravest."""

    at: float
    what: str
    cause: str
    baking: bool
    blame: Blame | None


class Node(World):
    """skips: quiet time is; else every tick is played, and the checks look with each.

    fault: what is going on, "" when nothing is. causes: what befell it since it was last quiet. unread: what the agent
    cannot read now: journal, prompts, systemd, disk. lived: seconds without a fault, by whether a release was on trial.
    """

    def __init__(self, random: Random, *, rate: float, skips: bool = True) -> None:
        self.flakes = Flakes(Random(random.random()), rate)
        self.skips = skips
        self.sights = Sights()
        self.fault = ""
        self._is_away = False
        self.causes: set[str] = set()
        self.unread: set[str] = set()
        self.lived = {True: 0.0, False: 0.0}
        self.acts: list[Act] = []
        self.events = 0
        self.skipped = 0.0
        self._brought = 0
        self._others: tuple[Finding, ...] = ()
        self._golden: dict[str, Golden] = {}
        super().__init__(state=make_state(stage=Stage.KNOWN_GOOD), settings=Settings("gpu1"))

    # --- lives ----------------------------------------------------------------------------------------------------

    def begin(self) -> Watch:
        """A new life of the agent; its ticks stay on whole seconds."""
        super().begin()
        self._queue = [one for one in self._queue if one[1] in self._lasting]
        self.at(float(math.ceil(self.now)), self._tick)
        return self.watch

    def renew(self) -> None:
        """People mended everything: one known-good release runs, and nobody remembers what was before."""
        self.state, self.seq = make_state(stage=Stage.KNOWN_GOOD), self.seq + 1
        self.skew, self.restarts, self.helper_says = 0.0, None, ""
        self.gateway_is_up, self.gateway_is_wedged, self.ejected = True, False, None
        self.peers = PEERS
        self.modes.clear()
        self.unread.clear()
        self.causes.clear()
        self.sights.clear()
        self.findings = self._others = ()
        self._lasting.clear()
        self.log.clear()
        self.calls.clear()
        self.stories.clear()
        self.fault, self._is_away = "", False
        self.engines = {slot: Engine() for slot in ("a", "b")}
        self.lane = "a"
        for held in self.state.slots:
            self.start(held.slot, held.release, loading=0.0)
        self.begin()

    # --- time -----------------------------------------------------------------------------------------------------

    def live(self, seconds: float, *, stops: bool = False) -> None:
        """So long; it stands between two ticks then. stops: when dsops acted."""
        end, acts = self.now + seconds, len(self.acts)
        while self.now < end and not (stops and len(self.acts) > acts):
            began, baking = self.now, self.baking
            self._skip(end)
            self.run(1.0)
            self.lived[baking] += 0.0 if self.fault else self.now - began

    def mend(self) -> None:
        """What made it impossible to tell is over; nobody looked after anything else."""
        self.fault, self.peers = "", PEERS
        self.unread.clear()
        self.sights.mend()
        for engine in self.engines.values():
            engine.mode = "right"

    def at(self, when: float, make: Callable[[], Event | None], *, lasting: bool = False) -> None:
        self.events += 1
        super().at(when, make, lasting=lasting)

    @property
    def is_quiet(self) -> bool:
        """Whether with every tick all that anybody decides by stays as it is, until something happens."""
        watch = self.watch
        return (
            len(self._queue) == 1
            and not self.fault
            and watch.verdict is Verdict.OK
            and not watch.strikes.bad
            and watch.traffic.wish is None
            and watch.incident is None
            and self.state.move is None
            and self.ejected is None
            and self.sights.is_at_rest
            and not self.unread
            and self.engines[self.lane].mode == "right"
        )

    def _skip(self, end: float) -> None:
        """Both clocks go on by whole rounds of probes, none of which flakes; what waits in the queue goes with them."""
        if not self.is_quiet:
            return
        self.causes.clear()
        self.stories.clear()
        period, probes = PERIODS[self.baking]
        room = min(end, self._find_age()) - RUN_IN_SECONDS - self.now
        rounds = min(room // period, self.flakes.left // probes - RUN_IN_ROUNDS)
        if self.skips and rounds > 0:
            self._jump(rounds * period, probes=int(rounds) * probes)

    def _find_age(self) -> float:
        """When the release comes to its next stage."""
        active, policy = self.state.active, self.watch.settings.policy
        if active is None or active.stage is Stage.KNOWN_GOOD:
            return math.inf
        age = policy.bake_seconds if active.stage is Stage.BAKING else policy.known_good_seconds
        return self.now + age - self.watch.driver.find_age(self.watch.now)

    def _jump(self, seconds: float, *, probes: int) -> None:
        self.now += seconds
        self.skipped += seconds
        self.flakes.left -= probes
        self._queue = [(when + seconds, number, make) for when, number, make in self._queue]
        # The next probes are as far away as they were: each witness keeps its own beat.
        began = self.watch.eyes._rounds.began
        began.update({who: at + seconds for who, at in began.items()})

    # --- what is there --------------------------------------------------------------------------------------------

    @property
    def baking(self) -> bool:
        return self.state.active is not None and self.state.active.stage is Stage.BAKING

    def see(self) -> Seen:
        """As the agent's loop puts a tick together."""
        if self.unread or not self.skips or self.sights.want_look(self.now):
            now = self.clock()
            checked = self.sights.look(now=now.ticks, wall=now.wall)
            self.findings = self._find_told(checked)
            self._others = find_all(CONFIG, self._find_snapshot(checked), (), self._find_gateway())
        elif self.findings and self.sights.is_at_rest:
            self.findings = self._others = ()
        seen = super().see()
        return replace(seen, **self._find_unread(seen)) if self.unread else seen

    def _find_told(self, checked: tuple[Finding, ...]) -> tuple[Finding, ...]:
        grounds = self.watch.grounds.describe("gpu1")
        return find_told(self._others, (*checked, *grounds), codes=RULES.rules)

    def _find_snapshot(self, checked: tuple[Finding, ...]) -> Snapshot:
        """What the findings beside those of the ledger are made of."""
        silent = {"triton@a.service": Unit("triton@a.service", "unknown", reason="systemd does not answer")}
        return Snapshot(
            at=self.clock().wall,
            ticks=self.now,
            host=Host(BOOT, self.now),
            units=silent if "systemd" in self.unread else {},
            slots={},
            slot_releases={},
            stable_slot="a",
            gateway=None,
            gpus=self.sights.reading,
            golden_reason="prompts.json cannot be read" if "prompts" in self.unread else "",
            disk_reason="the disk does not answer" if "disk" in self.unread else "",
            checked=checked,
        )

    def _find_unread(self, seen: Seen) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "journal" in self.unread or "disk" in self.unread:
            found["store"] = None
        if "prompts" in self.unread:
            found["golden"] = None
        if "systemd" in self.unread:
            found["unit"] = replace(seen.unit, active="unknown", reason="systemd does not answer")
        return found

    def _see_slot(self, slot: str) -> SlotSeen:
        seen = super()._see_slot(slot)
        golden = self._golden.setdefault(seen.release, Golden(seen.release, "m", BOUNDS, PROMPTS))
        return replace(seen, golden=golden if seen.golden else None)

    def _find_progress(self, engine: Engine) -> Progress:
        if engine.mode == "untold":
            return Progress(self.now, in_flight=4, answers=True)
        return super()._find_progress(engine)

    def _hear(self, engine: Engine) -> tuple[Heard, float]:
        if engine.mode in UNTOLD and engine.pid and self.now >= engine.loaded_at:
            return UNTOLD[engine.mode]
        heard, seconds = super()._hear(engine)
        if heard is RIGHT and self.flakes.take():
            self.causes.add("flake")
            return (WRONG, ERROR)[int(self.now) % 2], seconds
        return heard, seconds

    def bring_release(self) -> None:
        """One that was never here."""
        self._brought += 1
        self.activate(f"new{self._brought}")

    # --- what is done ---------------------------------------------------------------------------------------------

    def alarm(self, *lines: str) -> None:
        """The kernel says it, and the agent's loop wakes for it."""
        now = self.clock()
        self.sights.say(*lines, at=now.ticks)
        if self.sights.read_kernel(now=now.ticks, wall=now.wall):
            findings = self._find_told(self.sights.find(now=now.ticks, wall=now.wall))
            self.findings = findings
            self.at(self.now, lambda: Alarmed(self.clock(), findings))

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, Eject) and not self._is_away:
            # A gateway that was started afresh, or does not answer, is told again: that is no other act.
            self._note("eject")
        elif isinstance(effect, Call) and effect.verb in ACTS:
            self._note(f"{effect.verb} {effect.get('unit') or ''}".strip())
        if isinstance(effect, Eject | Admit):
            self._is_away = isinstance(effect, Eject)
        super()._do(effect)

    def _note(self, what: str) -> None:
        ruling = self.watch.ruling
        blame = ruling.blame if ruling and what != "eject" else None
        self.acts.append(Act(self.now, what, find_gravest(self.causes), self.baking, blame))


def find_gravest(causes: set[str]) -> str:
    """What an act is put down to, where several things befell a node at once."""
    return next((one for one in ("real", "flake", "unknown") if one in causes), "nothing")
