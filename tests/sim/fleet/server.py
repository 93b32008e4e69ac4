"""A server of the played fleet: the real brain of a node, its counters, and what its own watch sees."""

from dataclasses import dataclass, field
from random import Random

from dsops.core import node
from dsops.core.errors import DsopsError
from dsops.core.events import Activate, Done, Event, Proven, Refuted, Rollback, Widen
from dsops.core.rollout_events import Seen
from dsops.core.samples import ReleaseTally, Samples, Tally
from dsops.core.state import WAITS, Active, Epoch, Held, NodeState, Policy, Stage, Step

from tests.sim.fleet.dice import draw_failures

POLICY = Policy()
OLD, OLDER, NEW = "r0", "r00", "r1"
LOAD_SECONDS, PROBE_SECONDS = 90.0, 15.0


@dataclass
class Server:
    """dies_at: the release makes the whole server die so long after it came, 0 = it does not. boots: its lives."""

    name: str
    alone: bool
    state: NodeState
    load_until: float = 0.0
    is_dead: bool = False
    is_cut: bool = False
    is_ejected: bool = False
    drained: str = ""
    boots: int = 1
    tallies: dict[str, list[int]] = field(default_factory=dict)
    ever: int = 0

    def share_of(self, release: str) -> int:
        """Percent of its requests, by what its brain says."""
        canary = self.state.canary
        if canary and canary.release == release:
            return canary.share
        return 100 if self.state.active and self.state.active.release == release else 0

    def tell(self, event: Event) -> str:
        """One event for the brain, and whatever follows at once; why it was refused, "" when not."""
        try:
            self.state, _ = node.step(self.state, event, POLICY)
        except DsopsError as error:
            return error.what
        self._finish(getattr(event, "at", 0.0))
        return ""

    def _finish(self, at: float) -> None:
        while (move := self.state.move) and move.step not in WAITS:
            if move.step is Step.START:
                self.load_until = at + LOAD_SECONDS
            self.state, _ = node.step(self.state, Done(at, keep_warm=not self.alone), POLICY)
        self.ever = max(self.ever, self.share_of(NEW))

    def pass_time(
        self, rng: Random, *, at: float, seconds: float, rates: dict[str, float], requests: int, samples: int
    ) -> None:
        """Loading ends, clients' requests and dsops' own come, and the node's own watch looks at what serves."""
        if self.is_dead:
            return
        move = self.state.move
        if move and move.step is Step.PROVE and at >= self.load_until:
            # Eight golden answers: a release that fails most of them does not get in.
            wrong = draw_failures(rng, 8, rates.get(move.release, 0.0))
            self.tell(Refuted(at, "wrong answers", True) if wrong >= 4 else Proven(at))
        self._serve(rng, rates, requests, samples if self.is_sampled(at) else 0)
        self._watch(rng, at=at, seconds=seconds, rates=rates)

    def is_sampled(self, at: float) -> bool:
        """dsops asks both releases beside a canary, and one that has all of the traffic until it has baked."""
        active = self.state.active
        bakes = active is not None and active.stage is Stage.BAKING and at - active.since < POLICY.bake_seconds
        return bakes or self.state.canary is not None

    def _serve(self, rng: Random, rates: dict[str, float], requests: int, samples: int) -> None:
        share = self.share_of(NEW)
        is_open = not self.drained and not self.is_ejected
        for release, part in ((NEW, share), (OLD, 100 - share if self.state.active else 0)):
            if not part:
                continue
            counts = self.tallies.setdefault(release, [0, 0, 0, 0])
            real = requests * part // 100 if is_open else 0
            synthetic = samples if is_open else 0
            counts[0] += real
            counts[1] += draw_failures(rng, real, rates.get(release, 0.0))
            counts[2] += synthetic
            counts[3] += draw_failures(rng, synthetic, rates.get(release, 0.0))

    def _watch(self, rng: Random, *, at: float, seconds: float, rates: dict[str, float]) -> None:
        """Three BAD probes in a row make a verdict: the canary returns, a baking release is rolled back."""
        share = self.share_of(NEW)
        rate = rates.get(NEW, 0.0)
        probes = int(seconds // PROBE_SECONDS)
        is_struck = any(draw_failures(rng, 3, rate) == 3 for _ in range(probes - 2)) if share and rate > 0.05 else False
        if not is_struck:
            return
        if share < 100:
            self.tell(Refuted(at, "three BAD in a row", False))
        else:
            self.tell(Rollback(at, "dsops", "three BAD in a row", own=True, lasting=False))

    def restart(self) -> None:
        """Its counters begin anew."""
        self.boots += 1
        self.tallies = {}

    def look(self, *, at: float, has_samples: bool) -> Seen:
        if self.is_dead or self.is_cut:
            return Seen(self.name, is_reachable=False)
        state, move = self.state, self.state.move
        releases = tuple(
            ReleaseTally(name, Tally(a, b), Tally(c, d), str(self.boots)) for name, (a, b, c, d) in self.tallies.items()
        )
        return Seen(
            self.name,
            is_serving=not self.drained and not self.is_ejected and state.active is not None,
            active=state.active.release if state.active else "",
            canary=state.canary.release if state.canary else "",
            share=state.canary.share if state.canary else 0,
            is_moving=move is not None and state.canary is None,
            drained=self.drained,
            bad=tuple(bad.release for bad in state.bad),
            halted=state.halted,
            alone=self.alone,
            samples=Samples(self.name, at, releases) if has_samples else None,
        )

    def activate(self, *, at: float, share: int, alone: bool, epoch: Epoch) -> str:
        if self.alone and not alone:
            return "it needs more memory than is free"
        return self.tell(Activate(NEW, at, "rollout", "rollout", epoch, share, alone))

    def widen(self, *, at: float, share: int, epoch: Epoch) -> str:
        return self.tell(Widen(NEW, share, at, "rollout", "rollout", epoch))

    def go_back(self, *, at: float, reason: str, epoch: Epoch) -> str:
        """Only from the release that it is about: what has left it already stays where it is."""
        event = Rollback(at, "rollout", reason, own=False, lasting=False, epoch=epoch, leaves=NEW)
        return self.tell(event)


def make_server(number: int, *, alone: bool) -> Server:
    """With a release that has been good for long, and another one behind it."""
    active = Active(OLD, "a", 0.0, Stage.KNOWN_GOOD)
    state = NodeState(
        slots=(Held("a", OLD), Held("b")), active=active, fallbacks=(Active(OLDER, "b", 0.0, Stage.KNOWN_GOOD),)
    )
    return Server(f"gpu{number}", alone, state)
