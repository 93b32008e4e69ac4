"""The eyes on one slot: its probes, its progress and its deaths become looks, and looks become strikes."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from dsops.core.looks import (
    HANG_SECONDS,
    STILL_SECONDS,
    Code,
    Death,
    Look,
    Witness,
    judge_death,
    judge_loading,
    judge_probe,
    judge_progress,
)
from dsops.core.progress import Progress, find_stall
from dsops.core.status import Phase, Verdict
from dsops.core.verdict import Strikes, count_strikes
from dsops.node.agent.events import Died, Inspect, Inspected, Now, Probe, Probed, Side, SlotSeen
from dsops.node.agent.rounds import Rounds
from dsops.node.agent.seeing import find_death, see_probe
from dsops.node.agent.teller import Teller
from dsops.node.sources.golden import Golden

# What just began to run may refuse before its unit says that it loads.
BEGINNING_SECONDS = 3.0
HISTORY = 90
DEATHS_SECONDS = 600.0


@dataclass(frozen=True)
class Target:
    """What is looked at."""

    slot: str = ""
    release: str = ""


class Eyes:
    """One pair for the active slot, one for a canary's; both judge by the same rules.

    now, jumped_at: set by whoever owns them, before anything else. is_muted: looks are made and count for nothing.
    ok_at: when the slot itself answered right last. counts: (witness, verdict) -> probes.
    """

    def __init__(self, side: Side, *, now: Now, teller: Teller) -> None:
        self.now = now
        self.jumped_at: float | None = None
        self.is_muted = False
        self.target = Target()
        self.strikes = Strikes()
        self.deaths: tuple[Death, ...] = ()
        self.ok_at: float | None = None
        self.died_at = self.verdict_at = float("-inf")
        self.counts: dict[tuple[str, str], int] = {}
        self._side = side
        self._teller = teller
        self._began = now
        self._life = 0
        self._life_began = float("-inf")
        self._phase = Phase.UNKNOWN
        self._restarts = 0
        self._rounds = Rounds()
        self._progress: deque[Progress] = deque(maxlen=HISTORY)
        self._told_codes: set[Code] = set()
        self._dead: tuple[str, int] = ("", 0)

    # --- what others may ask ------------------------------------------------------------------------------------

    @property
    def verdict(self) -> Verdict:
        """As of now."""
        return self.strikes.find_verdict(self.now.ticks)

    @property
    def strike_count(self) -> int:
        """What others are shown; a stall counts before it is long enough for a hang."""
        return count_strikes(self.strikes, stall=find_stall(list(self._progress), now=self.now.ticks))

    @property
    def last_bad(self) -> str:
        """The newest BAD look in words, "" without one."""
        looks = self.strikes.bad or self.strikes.deaths
        return looks[-1].says if looks else ""

    @property
    def has_lost(self) -> bool:
        """Whether a process ended, and nobody has said yet how."""
        return bool(self._dead[1])

    @property
    def is_busy(self) -> bool:
        """Whether requests wait in the engine."""
        return bool(self._progress and self._progress[-1].waiting)

    # --- looking ------------------------------------------------------------------------------------------------

    def begin(self, target: Target, *, says: str = "") -> None:
        """What was seen so far says nothing about what runs now."""
        self.target = target
        self._life += 1
        self._life_began = self.now.ticks
        self.strikes, self.deaths, self.ok_at = Strikes(), (), None
        self._progress.clear()
        self._rounds.restart()
        self._told_codes.clear()
        if says:
            self.say("fresh", says)

    def see(self, seen: SlotSeen) -> None:
        """One reading of the slot, and a look at whether its engine moves."""
        self._phase, self._restarts = seen.phase, seen.unit.restarts
        if not seen.progress or not self.target.slot:
            return
        self._progress.append(seen.progress)
        now = self.now.ticks
        if seen.phase is Phase.LOADING and seen.unit.is_running and seen.unit.pid and seen.golden:
            allowed = float(seen.golden.probe.load_seconds)
            self._add(judge_loading(now=now, since=seen.unit.started, allowed=allowed))
        elif seen.phase not in (Phase.LOADING, Phase.STOPPED):
            look = judge_progress(list(self._progress), now=now)
            self._add(look, onset=now - HANG_SECONDS if look.code is Code.HUNG else now)

    def ask(
        self, golden: Golden | None, paces: Mapping[Witness, float], *, samples: bool = False, pinned: bool = False
    ) -> list[Probe]:
        """The probes that are due. paces: seconds from one probe of a witness to its next.

        samples: what goes through the gateway counts as a sample of the release. pinned: the lanes lead elsewhere too.
        """
        if golden is None or not self.target.slot or golden.release != self.target.release:
            return []
        due = [who for who, every in paces.items() if self._rounds.find_due((who,), now=self.now.ticks, every=every)]
        return [self._begin_probe(who, golden, samples=samples, pinned=pinned) for who in due]

    def _begin_probe(self, who: Witness, golden: Golden, *, samples: bool, pinned: bool) -> Probe:
        prompt = self._rounds.begin(who, golden.prompts, now=self.now.ticks)
        sample = samples and who is Witness.GATEWAY
        slot, life, now, side = self.target.slot, self._life, self.now, self._side
        return Probe(who, slot, golden, prompt, life, now, side=side, sample=sample, pinned=pinned)

    def ask_soon(self) -> None:
        """All probes are due."""
        self._rounds.began.clear()

    def lose(self, probe: Probe) -> None:
        """A probe could not be made."""
        if probe.life == self._life:
            self._rounds.end(probe.witness)

    def take_probe(self, event: Probed) -> Look | None:
        """The look that it makes; None when it says nothing about what runs now."""
        probe = event.probe
        if probe.life != self._life:
            return None
        self._rounds.end(probe.witness)
        now = event.now.ticks
        look = judge_probe(
            see_probe(probe, event.heard, ended=now),
            find_stall(list(self._progress), now=now, busy_since=probe.began.ticks),
            phase=Phase.LOADING if now - self._life_began < BEGINNING_SECONDS else self._phase,
            clock_jumped=self.jumped_at is not None and self.jumped_at >= probe.began.ticks,
            agent_age=now - self._began.ticks,
            relay_moved=self._has_relayed(max(probe.began.ticks, now - STILL_SECONDS)),
            slot_ok_at=self.ok_at,
        )
        if probe.began.ticks <= self.died_at and look.verdict is Verdict.BAD:
            return None  # it asked the process that died, and that is a look already
        key = (probe.witness.value, look.verdict.value)
        self.counts[key] = self.counts.get(key, 0) + 1
        if probe.witness is Witness.SLOT and look.verdict is Verdict.OK:
            self.ok_at = now
        self._add(look, onset=probe.began.ticks)
        return look

    def _has_relayed(self, since: float) -> bool:
        totals = [one.relayed for one in self._progress if one.at >= since and one.relayed is not None]
        return len(set(totals)) > 1

    # --- deaths -------------------------------------------------------------------------------------------------

    def take_death(self, event: Died) -> Inspect:
        """The process ended; systemd must say how."""
        self._dead, self.died_at = (event.slot, event.pid), event.now.ticks
        self._rounds.defer(event.now.ticks)
        self.open(event.now.ticks)
        return Inspect(event.slot, event.pid, self._restarts, event.now.ticks)

    def take_inspection(self, event: Inspected) -> Death | None:
        """How it ended; None when that is not what was asked."""
        ask = event.inspect
        if ask.slot != self.target.slot or (ask.slot, ask.pid) != self._dead:
            return None
        self._dead = ("", 0)
        death = find_death(ask, event.unit)
        if not death.expected:
            recent = (one for one in self.deaths if event.now.ticks - one.at <= DEATHS_SECONDS)
            self.deaths = (*recent, death)
        look = judge_death(death)
        if death.expected:
            self.say("stopped", look.says)
        self._add(look)
        return death

    def take_restart(self) -> None:
        """A process that should have run all the time is a fresh one, and nobody saw the end of the old one."""
        says = "its process ended while nobody looked, and another one loads"
        self._add(Look(self.now.ticks, Witness.PROCESS, Verdict.BAD, Code.CRASHED, says, "restart"))

    # --- strikes and the story ----------------------------------------------------------------------------------

    def _add(self, look: Look, *, onset: float | None = None) -> None:
        if self.is_muted:
            return
        before = self.strikes
        self.strikes = before.add(look)
        if look.verdict is Verdict.BAD and self.strikes.bad != before.bad:
            self.open(onset if onset is not None else look.at)
            self._told_codes.clear()
            self.say(f"bad {self.strikes.count}", look.says)
            if self.verdict is Verdict.BAD and before.find_verdict(self.now.ticks) is not Verdict.BAD:
                self.verdict_at = self.now.ticks
                self.say("verdict", f"BAD: {self.strikes.count} independent looks, {len(self.strikes.deaths)} deaths")
        elif self._teller.incident and look.verdict is Verdict.UNKNOWN and look.code not in (Code.IDLE, Code.OK):
            if look.code not in self._told_codes:
                self.say("unknown", look.says)
            self._told_codes.add(look.code)

    def open(self, onset: float) -> None:
        """Something goes wrong, since `onset` (ticks)."""
        if not self.is_muted:
            self._teller.open(self.target.release, now=self.now, onset=onset)

    def say(self, kind: str, says: str) -> None:
        """A line of the story."""
        self._teller.say(kind, says, release=self.target.release, now=self.now)
