"""A server that serves one release, all well, with the readings of its slot as a test makes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dsops.core.passport import Hardware, Passport, Run, RunKind
from dsops.core.status import Finding, Phase, Verdict
from dsops.node.checks.check import Scene
from dsops.node.checks.checkup import Checkup
from dsops.node.checks.rules import get_shipped
from dsops.node.checks.serving import CHECKS
from dsops.node.sources.cgroups import Use
from dsops.node.sources.counters import Counters
from dsops.node.sources.serving import FAILED, RELAYED, REQUESTS, Asked, ServingSeen, SlotServing, tell_totals
from dsops.node.sources.trend import Trend
from dsops.node.sources.unread import Unread

RULES = get_shipped()
BROKEN = Unread("Input/output error")
TOLD = {"generated": 1000.0, "waiting": 0.0, "cache_used": 0.5, "preemptions": 0.0, "nans": 0.0}
GIB = 1 << 30
HERE = Hardware(("NVIDIA H100",) * 8)


def make_passport(rate: float | None = 100.0) -> Passport:
    return Passport("r1", 1e9, "gpu9", HERE, "vllm", "", 8, 8, (Run(RunKind.WARM, rate),), ())


@dataclass
class Slot:
    """What is told of it with each reading. growth: counter -> by how much it grows with each."""

    told: Mapping[str, float] | Unread = field(default_factory=lambda: dict(TOLD))
    relayed: float | Unread = 1000.0
    clients: dict[str, int | Unread] = field(default_factory=lambda: {REQUESTS: 100, FAILED: 0})
    phase: Phase = Phase.SERVING
    passport: Passport | Unread | None = field(default_factory=make_passport)
    use: Use | Unread = field(default_factory=lambda: Use(4 * GIB))
    growth: dict[str, float] = field(default_factory=lambda: {"generated": 50.0, RELAYED: 50.0, REQUESTS: 2})
    answer: Asked | None = field(default_factory=lambda: make_asked())
    room: int | Unread = 64 * GIB

    def grow(self) -> None:
        if not isinstance(self.told, Unread):
            self.told = {key: value + self.growth.get(key, 0) for key, value in self.told.items()}
        if not isinstance(self.relayed, Unread):
            self.relayed += self.growth.get(RELAYED, 0)
        for key, count in self.clients.items():
            if not isinstance(count, Unread):
                self.clients[key] = count + int(self.growth.get(key, 0))
        if isinstance(self.use, Use):
            self.use = replace(self.use, own=int(self.use.own + self.growth.get("memory", 0)))


def make_asked(text: str = "It is 42.", *, is_right: bool | None = True, **words: Any) -> Asked:
    times = {"per_token": 0.008, "first_token": 0.05, "wanted": 10} | words
    return Asked(at=0.0, text=text, is_right=is_right, **times)


Change = Callable[[Slot], object]


class Bed:
    """now: seconds of the monotonic clock. A reading every `step` seconds."""

    def __init__(self) -> None:
        self.checkup = Checkup(RULES, checks=CHECKS)
        self.checkup.take_kept(None, boot="b1")
        self.slot = Slot()
        self.now = 10000.0
        self._seen = SlotServing("a", "r1")

    def find_scene(self) -> Scene:
        slot, seen = self.slot, self._seen
        totals = tell_totals(slot.told, relayed=slot.relayed, clients=slot.clients)
        answers = (*seen.answers, replace(slot.answer, at=self.now))[-64:] if slot.answer else seen.answers
        telling = seen.telling if isinstance(slot.told, Unread) else seen.telling | slot.told.keys()
        memory = Trend() if isinstance(slot.use, Unread) else seen.memory.add(self.now, slot.use.own)
        self._seen = replace(
            seen,
            phase=slot.phase,
            told=slot.told,
            telling=telling,
            totals=seen.totals.add(self.now, totals),
            answers=answers,
            passport=slot.passport,
            use=slot.use,
            memory=memory,
        )
        serving = ServingSeen(f"{self.now:.3f}", (self._seen,), slot.room)
        return Scene(at=1e9 + self.now, ticks=self.now, boot="b1", limits=RULES.limits, serving=serving)

    def live(self, seconds: float, *, step: float = 5.0) -> set[str]:
        """So long; the codes of what is wrong then."""
        for _ in range(int(seconds / step)):
            self.now += step
            self.slot.grow()
            self.checkup.look(self.find_scene())
        return {one.code for one in self.find() if one.status is Verdict.BAD}

    def find(self) -> tuple[Finding, ...]:
        return self.checkup.find(now=self.now, wall=1e9 + self.now)

    def find_blind(self) -> set[str]:
        return {one.code for one in self.find() if one.status is Verdict.UNKNOWN}

    def get_verdicts(self) -> dict[str, Verdict]:
        """As each code was seen last."""
        return {code: line.verdict for (code, _), line in self.checkup.ledger.lines.items()}

    def forget_counts(self) -> None:
        """Another release came: nothing is known of what its slot counted."""
        self._seen = replace(self._seen, totals=Counters(), telling=frozenset(), answers=())
