"""One rollout over a played fleet with seeded faults, and what must hold at every look."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.halt import Fall, find_halt
from dsops.core.rollout import begin, step
from dsops.core.rollout_events import (
    Abort,
    Activate,
    Back,
    Drain,
    Effect,
    Event,
    Fell,
    Look,
    Pause,
    Refused,
    Resume,
    Undrain,
    Widen,
)
from dsops.core.rollout_state import Rollout, Rules, Stand, Status
from dsops.core.state import Epoch
from dsops.core.waves import get_most

from tests.sim.fleet.server import NEW, OLD, Server, make_server

SIZE = 100
NORMAL = 0.001
# What the releases fail: half of them are good.
RATES = (NORMAL, NORMAL, NORMAL, NORMAL, 0.01, 0.05, 0.1, 0.5, 0.9, 1.0)
LOOK_SECONDS, SLOW_SECONDS = 60.0, 300.0
HOURS = 24.0
FAULTS = ("cut", "dead", "away", "alert", "person", "restart", "eject", "jump", "pause")


Tell = Callable[[str], None]


class Broken(AssertionError):
    """An invariant did not hold."""


@dataclass
class Order:
    """On its way to a node; due: when it arrives."""

    due: float
    effect: Effect


@dataclass
class Play:
    """rate: what the release fails; is_late: only where it has all the traffic, so that no canary can show it.

    faults: how likely each is in a minute. at: true seconds; skew: of the control host's clock. is_idle: no client
    asks anything.
    """

    seed: str
    rate: float
    is_late: bool
    faults: float
    rng: Random
    servers: dict[str, Server]
    rollout: Rollout
    at: float
    skew: float = 0.0
    orders: list[Order] = field(default_factory=list)
    heals: list[tuple[float, str, str]] = field(default_factory=list)
    alerts: tuple[str, ...] = ()
    falls: list[Fall] = field(default_factory=list)
    halt: str = ""
    halted: bool = False
    looks: int = 0
    told: int = 0
    away_until: float = 0.0
    tell: Tell | None = None
    is_idle: bool = False

    @property
    def reached(self) -> list[Server]:
        """Servers on which any request ever went to the release."""
        return [server for server in self.servers.values() if server.ever]

    @property
    def now(self) -> float:
        return self.at + self.skew


def play_rollout(
    seed: str,
    *,
    size: int = SIZE,
    rate: float | None = None,
    faults: float = 0.02,
    tell: Tell | None = None,
    is_idle: bool = False,
) -> Play:
    """From begin to its end, or for a day. Raises Broken, with the seed. tell: hears every order and every word."""
    rng = Random(seed)
    rate = rng.choice(RATES) if rate is None else rate
    is_late = rate > NORMAL and rng.random() < 0.25
    share_alone = rng.choice((0.0, 0.0, 0.3, 1.0)) if size > 1 else 0.0
    servers = {f"gpu{i}": make_server(i, alone=rng.random() < share_alone) for i in range(1, size + 1)}
    at = 1_000_000.0
    look = Look(at, tuple(one.look(at=at, has_samples=True) for one in servers.values()))
    rollout = begin(NEW, id="1", who="ann", reason="newer", epoch=Epoch(5, "here"), rules=Rules(), look=look)
    play = Play(seed, rate, is_late, faults, rng, servers, rollout, at, tell=tell, is_idle=is_idle)
    end = at + HOURS * 3600
    try:
        while play.at < end and not play.rollout.is_over:
            play_look(play)
        check_end(play)
    except (Broken, DsopsError) as error:
        raise Broken(
            f"{error} (seed {seed}, look {play.looks}, step {play.rollout.step}, {play.rollout.hold})"
        ) from error
    return play


def play_look(play: Play) -> None:
    """Time goes by, faults come and go, orders arrive, the controller looks and tells."""
    seconds = LOOK_SECONDS if play.rollout.step == 0 or not play.rollout.baking else SLOW_SECONDS
    if play.away_until > play.at:
        seconds = play.away_until - play.at  # nobody looks; the nodes go on
    play.at += seconds
    play.looks += 1
    _make_faults(play, seconds)
    _deliver(play)
    ill, well = {NEW: play.rate, OLD: NORMAL}, {NEW: NORMAL, OLD: NORMAL}
    for server in play.servers.values():
        rates = ill if not play.is_late or server.share_of(NEW) == 100 else well
        most = min(int(seconds), 600)
        requests = 0 if play.is_idle else most
        server.pass_time(
            play.rng, at=play.at, seconds=min(seconds, 600.0), rates=rates, requests=requests, samples=most // 2
        )
    seen = tuple(
        server.look(at=play.at, has_samples=play.rng.random() > play.faults) for server in play.servers.values()
    )
    send(play, Look(play.now, seen, play.alerts, play.halt))
    _act_as_operator(play)
    check(play)


def send(play: Play, event: Event) -> None:
    """The brain's next state; what it wants told goes out, and may be lost, late, or come twice."""
    before = play.rollout
    play.rollout, effects = step(before, event)
    check_effects(play, before, effects, event)
    for effect in effects:
        if play.tell:
            play.tell(f"{play.at - before.began:8.0f} s  {effect}")
        if isinstance(effect, Fell):
            play.falls.append(Fall(effect.at, effect.release, effect.node, effect.reason))
            play.halt = play.halt or find_halt(tuple(play.falls), at=play.now)
            play.halted = play.halted or bool(play.halt)
        elif isinstance(effect, Activate | Widen | Back | Drain | Undrain):
            play.told += 1
            for _ in range(_draw_copies(play)):
                late = play.rng.choice((0.0, 0.0, 0.0, 20.0, 100.0)) if play.rng.random() < play.faults * 5 else 0.0
                play.orders.append(Order(play.at + late, effect))
    if event is not None and isinstance(event, Look):
        _deliver(play)


def _draw_copies(play: Play) -> int:
    dice = play.rng.random()
    return 0 if dice < play.faults else 2 if dice < 2 * play.faults else 1


def _deliver(play: Play) -> None:
    due = [order for order in play.orders if order.due <= play.at]
    play.orders = [order for order in play.orders if order.due > play.at]
    for order in due:
        effect = order.effect
        assert isinstance(effect, Activate | Widen | Back | Drain | Undrain)
        server = play.servers[effect.node]
        if server.is_dead or server.is_cut:
            continue
        refused = _obey(play, server, effect)
        if refused and isinstance(effect, Activate | Widen) and play.rng.random() < 0.1:
            # Most refusals are of orders that came twice or late; the runner tells what it heard.
            send(play, Refused(play.now, server.name, refused))


def _obey(play: Play, server: Server, effect: Activate | Widen | Back | Drain | Undrain) -> str:
    at, epoch = play.at, play.rollout.epoch
    match effect:
        case Activate():
            return server.activate(at=at, share=effect.share, alone=effect.alone, epoch=epoch)
        case Widen():
            return server.widen(at=at, share=effect.share, epoch=epoch)
        case Back():
            return server.go_back(at=at, reason=effect.reason, epoch=epoch)
        case Drain():
            server.drained = server.drained or effect.reason
        case Undrain():
            server.drained = "" if server.drained.startswith("rollout") else server.drained
    return ""


# --- faults -----------------------------------------------------------------------------------------------------


def _make_faults(play: Play, seconds: float) -> None:
    for due, kind, name in [one for one in play.heals if one[0] <= play.at]:
        play.heals.remove((due, kind, name))
        _heal(play, kind, name)
    for _ in range(max(1, int(seconds // 60))):
        if play.rng.random() < play.faults:
            _break(play, play.rng.choice(FAULTS))


def _break(play: Play, kind: str) -> None:
    server = play.rng.choice(list(play.servers.values()))
    if play.tell:
        play.tell(f"{play.at - play.rollout.began:8.0f} s  fault: {kind} {server.name}")
    heals = play.at + play.rng.choice((60.0, 600.0, 3600.0))
    match kind:
        case "cut":
            server.is_cut = True
        case "dead":
            server.is_dead = True
        case "away":
            play.away_until = play.at + play.rng.choice((60.0, 900.0, 7200.0))
        case "alert":
            play.alerts = ("NodeSlow",)
        case "person":
            server.drained = server.drained or "li: fans"
        case "restart":
            server.restart()
        case "eject":
            server.is_ejected = True
        case "jump":
            play.skew += play.rng.choice((-3600.0, -60.0, 60.0, 3600.0))
        case "pause" if play.rollout.status is Status.RUNNING:
            send(play, Pause(play.now, "ann", "lunch"))
    play.heals.append((heals, kind, server.name))
    # The control host is started again: nothing but its store is left.
    play.rollout = decode(Rollout, json.loads(play.rollout.to_json()), where="store")


def _heal(play: Play, kind: str, name: str) -> None:
    server = play.servers[name]
    match kind:
        case "cut":
            server.is_cut = False
        case "dead":
            server.is_dead = False
            server.restart()
        case "alert":
            play.alerts = ()
        case "person":
            server.drained = "" if server.drained == "li: fans" else server.drained
        case "eject":
            server.is_ejected = False
        case "pause" if play.rollout.status is Status.PAUSED:
            send(play, Resume(play.now, "ann", "back"))


def _act_as_operator(play: Play) -> None:
    """Sooner or later somebody decides what only a person may."""
    rollout = play.rollout
    if rollout.is_over or play.rng.random() > 0.02:
        return
    stuck = any(part.stand in (Stand.LOST, Stand.STUCK) for part in rollout.parts)
    if rollout.status is Status.RUNNING and stuck:
        send(play, Resume(play.now, "ann", "without them"))
    elif rollout.status is Status.ABORTING and all(
        part.gone_at for part in rollout.parts if part.stand is Stand.LEAVES
    ):
        send(play, Abort(play.now, "ann", "without them"))


# --- what must hold ---------------------------------------------------------------------------------------------


def check(play: Play) -> None:
    """After every look."""
    pool = list(play.servers.values())
    ours = [one for one in pool if one.drained.startswith("rollout")]
    most = get_most(len(pool))
    if len(ours) > most:
        raise Broken(f"{len(ours)} nodes are drained by the rollout, {most} may be")
    if ours and len(ours) == len([one for one in pool if not one.is_dead]):
        raise Broken("the last healthy node was drained")
    if any(one.state.active and one.state.active.release not in (OLD, NEW) for one in pool):
        raise Broken("a node went back further than it should")


def check_effects(play: Play, before: Rollout, effects: tuple[Effect, ...], event: Event) -> None:
    """What may be told, and when."""
    forward = [one for one in effects if isinstance(one, Activate | Widen)]
    after = play.rollout
    if forward and (play.alerts or play.halt or before.status is not Status.RUNNING or not isinstance(event, Look)):
        raise Broken(f"forward while it may not: {forward[0]}")
    if forward and after.status is not Status.RUNNING:
        raise Broken(f"forward while it goes back: {forward[0]}")
    if after.status is not Status.ABORTING and any(isinstance(one, Back) for one in effects):
        raise Broken("back while it goes forward")
    for one in forward:
        part = before.find_part(one.node)
        if part is None or (isinstance(one, Widen) and one.share <= part.share):
            raise Broken(f"a share that does not grow: {one}")


def check_end(play: Play) -> None:
    """Done: whoever serves has it. Aborted: nobody whom it can reach."""
    rollout = play.rollout
    there = [one for one in play.servers.values() if not one.is_dead and not one.is_cut]
    left_behind = {part.node for part in rollout.parts if "left behind" in part.reason}
    if rollout.status is Status.ABORTED and not play.orders:
        have = [one.name for one in there if one.share_of(NEW) and one.name not in left_behind]
        if have:
            raise Broken(f"aborted, and {have} still have it")
    if rollout.status is Status.DONE:
        lack = [
            part.node for part in rollout.parts if part.stand is Stand.WAITS and not part.gone_at and part.is_serving
        ]
        if lack:
            raise Broken(f"done, and {lack} lack it")
