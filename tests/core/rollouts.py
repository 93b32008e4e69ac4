"""A small fleet for tests of rollouts: nodes do what they are told and fail as many requests as they are asked to."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from dsops.core.decode import decode
from dsops.core.rollout import begin, step
from dsops.core.rollout_events import Activate, Back, Drain, Effect, Event, Look, Say, Seen, Undrain, Widen
from dsops.core.rollout_state import Rollout, Rules
from dsops.core.samples import ReleaseTally, Samples, Tally, add
from dsops.core.state import Epoch

OLD, NEW = "r0", "r1"
RULES = Rules(canary_minutes=30, step_minutes=30, min_sample=800)


@dataclass
class Node:
    """One server of the fleet."""

    seen: Seen
    tallies: dict[str, Tally] = field(default_factory=dict)

    def count(self, requests: int, *, failing: dict[str, float]) -> None:
        """So many requests to each release that runs here, and as many of them fail as is usual for it."""
        running = {self.seen.active, self.seen.canary} - {""}
        for release in running:
            before = self.tallies.get(release, Tally())
            total = before.requests + requests
            failed = round(total * failing.get(release, 0.0))
            self.tallies[release] = Tally(total, max(failed, before.failed))

    def look(self, at: float) -> Seen:
        releases = tuple(ReleaseTally(name, synthetic=tally) for name, tally in self.tallies.items())
        return replace(self.seen, samples=Samples(self.seen.node, at, releases))


@dataclass
class Fleet:
    """Its nodes, its clock, the rollout, and everything that was told."""

    nodes: dict[str, Node]
    at: float = 1000.0
    rollout: Rollout | None = None
    told: list[Effect] = field(default_factory=list)
    failing: dict[str, float] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    halt: str = ""
    per_look: int = 60
    sent: int = 0
    mute: set[str] = field(default_factory=set)
    obeys: Callable[[Effect], bool] = lambda effect: True

    def begin(self, rules: Rules = RULES) -> Rollout:
        self.rollout = begin(
            NEW, id="7", who="ann", reason="newer", epoch=Epoch(7, "here"), rules=rules, look=self.make_look()
        )
        return self.rollout

    def make_look(self) -> Look:
        seen = (node.look(self.at) for node in self.nodes.values())
        told = tuple(replace(one, samples=None) if one.node in self.mute else one for one in seen)
        return Look(self.at, told, self.alerts, self.halt)

    def send(self, event: Event) -> list[Effect]:
        """One event; its state goes over JSON now and then, and what nodes are told they do."""
        assert self.rollout is not None
        self.rollout, effects = step(self.rollout, event)
        self.sent += 1
        if self.sent % 16 == 1:
            assert decode(Rollout, json.loads(self.rollout.to_json()), where="test") == self.rollout
        for effect in effects:
            self.told.append(effect)
            if self.obeys(effect):
                self.do(effect)
        return list(effects)

    def do(self, effect: Effect) -> None:
        match effect:
            case Activate(node, release, share, _):
                self.change(node, **({"active": release} if share == 100 else {"canary": release, "share": share}))
            case Widen(node, release, 100):
                self.change(node, active=release, canary="", share=0)
            case Widen(node, _, share):
                self.change(node, share=share)
            case Back(node, release, _):
                self.fall(node, release)
            case Drain(node, reason):
                self.change(node, drained=reason, is_serving=False)
            case Undrain(node):
                self.change(node, drained="", is_serving=True)

    def fall(self, node: str, release: str = NEW) -> None:
        """The node goes back, and marks the release."""
        seen = self.nodes[node].seen
        active = OLD if seen.active == release else seen.active
        self.change(node, active=active, canary="", share=0, bad=(*seen.bad, release))

    def change(self, node: str, **changes: object) -> None:
        self.nodes[node].seen = replace(self.nodes[node].seen, **changes)  # type: ignore[arg-type]

    def look(self, *, seconds: float = 60.0) -> list[Effect]:
        self.at += seconds
        for node in self.nodes.values():
            if node.seen.is_reachable and not node.seen.drained:
                node.count(self.per_look, failing=self.failing)
        return self.send(self.make_look())

    def run(self, *, minutes: float, until: Callable[[Rollout], bool] = lambda rollout: rollout.is_over) -> Rollout:
        assert self.rollout is not None
        end = self.at + minutes * 60
        while self.at < end and not until(self.rollout):
            self.look()
        return self.rollout

    @property
    def having(self) -> dict[str, int]:
        shares = {name: node.seen.share_of(NEW) for name, node in self.nodes.items()}
        return {name: share for name, share in shares.items() if share}

    def said(self) -> list[str]:
        return [one.text for one in self.told if isinstance(one, Say)]


def make_fleet(count: int = 3, *, alone: Iterable[int] = (), **fields: object) -> Fleet:
    """gpu1, gpu2 ... of pool gpu; those in `alone` cannot hold two copies."""
    cannot = set(alone)
    nodes = {
        f"gpu{i}": Node(Seen(f"gpu{i}", active=OLD, alone=i in cannot), {OLD: add(Tally(), Tally(100_000, 100))})
        for i in range(1, count + 1)
    }
    return Fleet(nodes, **fields)  # type: ignore[arg-type]
