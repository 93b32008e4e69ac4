"""Node-days of one line of the table: when what befalls a node, and what dsops does about it."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from dsops.core.status import Blame

from tests.sim.days.node import Node
from tests.sim.days.real import REALS, Real, find_fault
from tests.sim.days.unknown import KINDS, PLAIN, Kind
from tests.sim.world import do_nothing

DAY = 86400.0
# Acts after which a node does not come back by itself: people bring it to where it was.
ENDS = ("rollback", "halt")
PEOPLE_SECONDS, PROVING_SECONDS = 20.0, 10.0
# A storm, and until it has blown over.
STORM_SECONDS, CALM_SECONDS = (20.0, 90.0), 120.0
# An agent that just started acts on nothing but traffic for two minutes.
SETTLED_SECONDS = 130.0


@dataclass(frozen=True)
class Line:
    """rate: of flakes, per probe. The others: per node-day. is_trial: a release is on trial all the time."""

    name: str
    rate: float
    days: float
    releases: float = 0.0
    storms: float = 0.0
    plain: float = 0.0
    reals: float = 0.0
    is_trial: bool = False


@dataclass
class Tally:
    """acts: (what, cause, whether on trial) -> how often. lived: seconds, by the latter. wrong: what must not be.

    decisions: of one node in order, for comparisons.
    """

    acts: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    lived: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})
    wrong: list[str] = field(default_factory=list)
    decisions: list[tuple[float, str, str]] = field(default_factory=list)
    days: float = 0.0
    skipped: float = 0.0
    events: int = 0

    def add(self, other: "Tally") -> None:
        self.acts += other.acts
        self.happened += other.happened
        self.right += other.right
        self.lived = {key: self.lived[key] + other.lived[key] for key in self.lived}
        self.wrong += other.wrong
        self.days += other.days
        self.skipped += other.skipped
        self.events += other.events

    def count(self, *what: str, cause: str, trial: bool | None = None) -> int:
        """Acts of these kinds."""
        known = (True, False) if trial is None else (trial,)
        return sum(self.acts[one, cause, on] for one in what for on in known)


class Play:
    """One node for so many days. seed: all chance comes from it. skips: quiet time is."""

    def __init__(
        self, line: Line, *, seed: str, days: float, skips: bool = True, tell: Callable[..., object] = do_nothing
    ) -> None:
        self.line = line
        self.tally = Tally(days=days)
        self._random = Random(seed)
        self._tell = tell
        self._told = 0
        self._name = seed
        self.node = Node(self._random, rate=line.rate, skips=skips)
        self.node.run(0.5)
        self._end = self.node.now + days * DAY
        self._happens: tuple[tuple[float, Callable[[], None]], ...] = (
            (line.releases, self._release),
            (line.storms, self._storm),
            (line.plain, self._plain),
            (line.reals, self._real),
        )

    def run(self) -> Tally:
        node, total = self.node, sum(rate for rate, _ in self._happens)
        while node.now < self._end:
            wait = self._random.expovariate(total / DAY) if total else math.inf
            self._live(min(self._end, node.now + max(SETTLED_SECONDS, wait)))
            if node.now < self._end:
                self._choose(total)()
        self.tally.lived = node.lived
        self.tally.skipped, self.tally.events = node.skipped, node.events
        return self.tally

    def _choose(self, total: float) -> Callable[[], None]:
        left = self._random.random() * total
        for rate, happen in self._happens:
            left -= rate
            if left < 0:
                return happen
        return self._happens[-1][1]

    def _live(self, until: float) -> None:
        """Nothing happens but flakes."""
        node = self.node
        while node.now < until:
            if self.line.is_trial and not node.baking and node.state.move is None:
                self._release()
            node.live(until - node.now, stops=True)
            new = node.acts[self._told :]
            self.take_acts()
            if any(act.what in ENDS for act in new):
                node.live(PEOPLE_SECONDS)
                self._renew()
            elif self.line.is_trial and not node.baking and node.state.move is None:
                self._renew()

    def take_acts(self) -> None:
        for act in self.node.acts[self._told :]:
            self.tally.acts[act.what, act.cause, act.baking] += 1
            self.tally.decisions.append((act.at, act.what, act.cause))
            self._tell(f"{act.at:12.2f} s: {act.what} because of {act.cause}")
            if act.cause not in ("real", "flake"):
                self.tally.wrong.append(f"{act.what} because of {act.cause} at {act.at:.1f} s of {self._name}")
        self._told = len(self.node.acts)

    def _renew(self) -> None:
        self.take_acts()
        self.node.renew()
        self.node.acts.clear()
        self._told = 0

    # --- what happens ---------------------------------------------------------------------------------------------

    def _say(self, what: str) -> None:
        self.tally.happened[what] += 1
        self._tell(f"{self.node.now:12.2f} s: {what}")

    def _release(self) -> None:
        """A new one that is good."""
        node = self.node
        if node.state.move is None:
            self._say("a new release")
            node.bring_release()
            node.live(PROVING_SECONDS)

    def _storm(self) -> None:
        self._go_blind(tuple(self._random.sample(KINDS, self._random.randint(1, 3))))

    def _plain(self) -> None:
        self._go_blind((self._random.choice(PLAIN),))

    def _go_blind(self, kinds: tuple[Kind, ...]) -> None:
        """For a while; until it is over and all is known again."""
        node = self.node
        node.fault = " and ".join(kind.name for kind in kinds)
        node.causes.add("unknown")
        seconds = self._random.uniform(*STORM_SECONDS)
        for kind in kinds:
            self._say(kind.name)
            self._begin(lambda kind=kind: kind.begin(node, self._random), within=5.0)  # type: ignore[misc]
        node.live(seconds + 5.0)
        node.mend()
        until = node.now + CALM_SECONDS
        while not node.is_quiet and node.now < until:
            node.live(1.0)
        self.take_acts()
        if not node.sights.is_at_rest:
            node.sights.clear()  # a person read what the checks told
        self.tally.happened["storms"] += 1

    def _begin(self, begin: Callable[[], object], *, within: float) -> None:
        """At some moment between two ticks."""

        def begins() -> None:
            begin()

        self.node.at(self.node.now + self._random.uniform(0.0, within), begins, lasting=True)

    def _real(self) -> None:
        self.play_real(self._random.choice(REALS))

    def play_real(self, real: Real) -> None:
        """One real fault, as long as dsops needs; people mend it then."""
        node = self.node
        self._calm()
        self._say(real.name)
        node.fault = real.name
        node.causes.add("real")
        first = len(node.acts)
        codes, blames = self._watch(real)
        fault = find_fault(real, node.acts[first:], codes, blames)
        if fault:
            self.tally.wrong.append(f"{fault}, at {node.now:.1f} s of {self._name}")
        self.tally.right[real.name] += not fault
        self._renew()

    def _calm(self) -> None:
        """What a fault leads to is only known where nothing else goes on, and no release is on trial."""
        node = self.node
        until = node.now + node.settings.policy.bake_seconds + CALM_SECONDS
        while node.now < until and (node.baking or not node.is_quiet):
            node.live(1.0)
        if node.baking or not node.is_quiet:
            self._renew()
            node.live(SETTLED_SECONDS)
        self.take_acts()

    def _watch(self, real: Real) -> tuple[set[str], set[Blame]]:
        """All that was found and blamed while it went on."""
        node = self.node
        self._begin(lambda: real.begin(node), within=1.0)
        codes: set[str] = set()
        blames: set[Blame] = set()
        until = node.now + real.seconds
        while node.now < until:
            node.live(1.0)
            codes |= {finding.code for finding in node.findings}
            blames |= {node.watch.ruling.blame} if node.watch.ruling else set()
        return codes, blames
