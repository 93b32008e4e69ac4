"""A fleet of nodes that do what they are told at once, count requests, and refuse old epochs; and a clock."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsops.control.rollout.doors import Order, Told
from dsops.control.rollout.memory import Memory
from dsops.control.rollout.run import Desk, Runner, build_runner
from dsops.control.rollout.store import Kept, Store
from dsops.core.rollout import begin
from dsops.core.rollout_events import Activate, Back, Drain, Look, Seen, Undrain, Widen
from dsops.core.rollout_state import Rollout, Rules
from dsops.core.samples import PER_TOKEN_BOUNDS, TTFT_BOUNDS, ReleaseTally, Samples, Tally, add_release
from dsops.core.state import Epoch

OLD, NEW = "r00000000000a", "r00000000000b"
SITE = Path("inventory/site.py")
NO_EPOCH = Epoch()
QUICK = Rules(canary_minutes=1.0, step_minutes=1.0, min_sample=100)


def tally(count: int, rate: float) -> Tally:
    """So many requests, all of one speed, with so many percent failed."""
    good = count - round(count * rate / 100)
    ttft = tuple(good if bound == 5 else 0 for bound in range(len(TTFT_BOUNDS) + 1))
    per_token = tuple(good if bound == 3 else 0 for bound in range(len(PER_TOKEN_BOUNDS) + 1))
    return Tally(count, count - good, 0, ttft, per_token, good * 0.15, good * 0.004)


@dataclass
class Node:
    """What one node has, and what its counters say. is_away: its helper is, for so many of the next orders."""

    name: str
    active: str = OLD
    canary: str = ""
    share: int = 0
    drained: str = ""
    bad: tuple[str, ...] = ()
    is_dead: bool = False
    refuses: str = ""
    is_away: int = 0
    epoch: Epoch = NO_EPOCH
    counts: dict[str, ReleaseTally] = field(default_factory=dict)

    def serve(self, requests: int, rates: dict[str, float]) -> None:
        """So many requests, by share, and dsops' own; rates: how many percent of each release fail."""
        mine = requests * self.share // 100 if self.canary else 0
        for release, count in ((self.canary, mine), (self.active, requests - mine)):
            if release and count:
                rate = rates.get(release, 0.0)
                came = ReleaseTally(release, tally(count, rate), tally(120, rate))
                self.counts[release] = add_release(self.counts.get(release, ReleaseTally(release)), came)

    def see(self, at: float, *, alone: bool = False) -> Seen:
        if self.is_dead:
            return Seen(self.name, is_reachable=False)
        return Seen(
            self.name,
            is_serving=not self.drained,
            active=self.active,
            canary=self.canary,
            share=self.share,
            drained=self.drained,
            bad=self.bad,
            alone=alone,
            samples=Samples(self.name, at, tuple(self.counts.values())),
        )

    def tell(self, order: Order, epoch: Epoch) -> Told:
        if self.is_dead:
            return Told(lost="the connection broke")
        if self.is_away:
            self.is_away -= 1
            return Told(refused="the helper cannot be reached (Connection refused)", is_away=True)
        if (epoch.number, epoch.holder) < (self.epoch.number, self.epoch.holder) or self.refuses:
            return Told(refused=self.refuses or f"epoch {epoch.number} is older than {self.epoch.number}")
        self.epoch = epoch
        match order:
            case Activate() | Widen():
                self.canary, self.share = (order.release, order.share) if order.share < 100 else ("", 0)
                self.active = order.release if order.share == 100 else self.active
            case Back():
                self.active = OLD
                self.canary, self.share, self.bad = "", 0, (*self.bad, order.release)
            case Drain():
                self.drained = f"{order.reason} (me)"
            case Undrain():
                self.drained = ""
        return Told()


@dataclass
class World:
    """Doors to such nodes. rates: percent of each release's requests that fail. loses: so many of the next orders."""

    nodes: dict[str, Node]
    at: float = 1_700_000_000.0
    rates: dict[str, float] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    alone: frozenset[str] = frozenset()
    said: list[tuple[Order, Epoch]] = field(default_factory=list)
    reached: set[str] = field(default_factory=set)
    on_sleep: Callable[["World"], None] = lambda _: None
    on_tell: Callable[[Order], None] = lambda _: None
    on_pause: Callable[[float], None] = lambda _: None
    loses: int = 0

    def look(self) -> tuple[Seen, ...]:
        return tuple(node.see(self.at, alone=node.name in self.alone) for node in self.nodes.values())

    def find_alerts(self) -> tuple[str, ...]:
        return self.alerts

    def tell(self, order: Order, epoch: Epoch, *, reason: str) -> Told:
        self.said.append((order, epoch))
        self.on_tell(order)
        if self.loses:
            self.loses -= 1
            return Told(lost="the connection broke")
        if isinstance(order, Activate):
            self.reached.add(order.node)
        return self.nodes[order.node].tell(order, epoch)

    def sleep(self, seconds: float) -> None:
        """Time goes by, and requests come."""
        self.at += seconds
        for node in self.nodes.values():
            if not node.is_dead and not node.drained:
                node.serve(8000, self.rates)
        self.on_sleep(self)


def make_world(count: int = 10) -> World:
    return World({f"gpu{number}": Node(f"gpu{number}") for number in range(1, count + 1)})


def make_rollout(world: World, *, number: int = 1, epoch: Epoch = NO_EPOCH, rules: Rules = QUICK) -> Rollout:
    """As it begins on this world."""
    look = Look(world.at, world.look())
    return begin(NEW, id=str(number), who="me", reason="new", epoch=epoch, rules=rules, look=look)


def start(store: Store, world: World, *, rules: Rules = QUICK) -> Kept:
    """In the store, too."""

    def make(number: int, epoch: Epoch) -> str:
        return make_rollout(world, number=number, epoch=epoch, rules=rules).to_json()

    return store.start(make, release=NEW, who="me", reason="new", at=world.at)


class WaitingDesk(Desk):
    """Each order is done before the next thing happens, so that a test knows what it sees."""

    def begin(self, order: Order, kept: Kept) -> None:
        self.deliver(order, kept)


@dataclass
class Heard:
    """What a runner told and showed."""

    told: list[str] = field(default_factory=list)
    shown: list[Rollout] = field(default_factory=list)

    def show(self, rollout: Rollout, memory: Memory) -> None:
        self.shown.append(rollout)


def make_runner(store: Store, kept: Kept, world: World, heard: Heard | None = None) -> Runner:
    """On the world's clock, 20 s from look to look."""
    heard = heard or Heard()
    runner = build_runner(store, kept, world, tell=heard.told.append, show=heard.show, every=20.0)
    desk = WaitingDesk(store, world, "why", sleep=lambda seconds: world.on_pause(seconds))
    return replace(runner, now=lambda: world.at, sleep=world.sleep, desk=desk)
