"""Schedules in seconds around the agent's whole Watch: whatever it sees, what it does must be right."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from dsops.core import events as core
from dsops.core import node as brain
from dsops.core.blame import Peer
from dsops.core.errors import DsopsError
from dsops.core.lanes import SHARES
from dsops.core.state import WAITS, NodeState, Stage
from dsops.core.status import Blame, Condition, Finding, Verdict

from tests.node.agent import world as node
from tests.sim.invariants import hold
from tests.sim.world import POLICY

TROUBLES = 25
REST_SECONDS = 600.0
# So long ago the engine may have been ill when dsops acts upon it: three strikes, with all that may delay them.
MEMORY_SECONDS = 400.0
GPU = Finding("gpu 0", "gpu.xid", Verdict.BAD, Blame.HARDWARE, Condition.FAILED, "an Xid", "")
MODES = ("right", "wrong", "hung", "stall", "slow", "stopped")


class Watched(node.World):
    """A node around the real Watch. It remembers when each slot's engine was really ill, and what dsops did."""

    def __init__(self, **changes: Any) -> None:
        self.ill_at: dict[str, float] = {"a": -1e9, "b": -1e9}
        self.own: list[float] = []
        self.drained_acts = 0
        super().__init__(**changes)

    def see(self) -> Any:
        for slot, engine in self.engines.items():
            if engine.pid == 0 or self.now < engine.loaded_at or engine.mode not in ("right", "slow"):
                self.ill_at[slot] = self.now
        return super().see()

    def handle(self, event: Any, *, cut: bool = False) -> None:
        before = self.state
        super().handle(event, cut=cut)
        self.check(before, event)

    def check(self, before: NodeState, event: Any) -> None:
        """I4, I14 and D4, of every act that dsops does by itself."""
        if isinstance(event, core.Rollback) and event.own:
            hold(before.active is not None, "I14: a rollback from nothing")
            slot = before.canary.slot if before.canary else before.active.slot if before.active else ""
            hold(self.now - self.ill_at[slot] < MEMORY_SECONDS, f"I14: dsops goes back, and slot {slot} was well")
            hold(GPU not in self.findings, "D4: a broken GPU rolls a release back")
            if not before.canary:
                self.own.append(event.at)
                recent = sum(abs(event.at - at) < brain.DAY for at in self.own)
                hold(recent <= POLICY.rollbacks_per_day, "I4: dsops rolled back more often than it may")
        if isinstance(event, core.Refuted) and before.canary:
            hold(self.now - self.ill_at[before.canary.slot] < MEMORY_SECONDS, "I14: a canary that was well goes")
            hold(self.state.active == before.active, "canary: the active release went with it")
        if isinstance(event, core.Restarted):
            recent = sum(abs(event.at - at) < brain.HOUR for at in self.state.restarts)
            hold(recent <= POLICY.restarts_per_hour, "I4: dsops restarted more often than it may")


Trouble = Callable[[Watched, Random], None]


def engine_changes(world: Watched, random: Random) -> None:
    world.engines[random.choice("ab")].mode = random.choice(MODES)


def release_changes(world: Watched, random: Random) -> None:
    release = random.choice(["r1", "r2", "r3"])
    world.modes[release] = random.choice(MODES)
    for engine in world.engines.values():
        if engine.release == release:
            engine.mode = world.modes[release]


def engine_is_killed(world: Watched, random: Random) -> None:
    slot = random.choice("ab")
    if world.engines[slot].pid:
        world.kill(slot, status=random.choice([9, 11]))


def gateway_ends_or_begins(world: Watched, random: Random) -> None:
    world.gateway_is_up = not world.gateway_is_up
    world.ejected = None


def gateway_wedges(world: Watched, random: Random) -> None:
    world.gateway_is_wedged = True


def clock_jumps(world: Watched, random: Random) -> None:
    world.skew += random.choice([-3600.0, 3600.0, -50.0, 50.0])


def agent_begins_anew(world: Watched, random: Random) -> None:
    """After a kill, or after a SIGSTOP that the watchdog ended."""
    world.restarts = world.watch.restarts
    world.begin()


def peers_change(world: Watched, random: Random) -> None:
    ill = tuple(replace(peer, serves=False, fails=True) for peer in node.PEERS)
    some: list[tuple[Peer, ...]] = [node.PEERS, (), ill]
    world.peers = random.choice(some)


def operator_drains(world: Watched, random: Random) -> None:
    world.drained = "" if world.drained else "fan (ann)"


def gpu_breaks_or_is_mended(world: Watched, random: Random) -> None:
    world.findings = () if world.findings else (GPU,)


def load_changes(world: Watched, random: Random) -> None:
    world.load = not world.load


def helper_refuses(world: Watched, random: Random) -> None:
    world.helper_says = "" if world.helper_says else "the disk is full"


def ask(world: Watched, act: Callable[[], None]) -> None:
    """What a person or a control host asks, refused or not."""
    try:
        act()
    except DsopsError:
        return


def somebody_activates(world: Watched, random: Random) -> None:
    share = random.choice(SHARES)
    ask(world, lambda: world.activate(random.choice(["r1", "r2", "r3"]), share=share))


def somebody_widens(world: Watched, random: Random) -> None:
    canary = world.state.canary
    if canary:
        ask(world, lambda: world.widen(canary.release, random.choice(SHARES)))


def person_clears(world: Watched, random: Random) -> None:
    world.handle(core.Clear())
    world.own.clear()


def person_rolls_back(world: Watched, random: Random) -> None:
    warm = tuple(slot for slot, engine in world.engines.items() if engine.pid)
    event = core.Rollback(world.clock().wall, "ann", "x", own=False, lasting=False, warm=warm)
    ask(world, lambda: world.handle(event))


TROUBLES_OF: tuple[Trouble, ...] = (
    engine_changes,
    engine_changes,
    release_changes,
    engine_is_killed,
    gateway_ends_or_begins,
    gateway_wedges,
    clock_jumps,
    agent_begins_anew,
    peers_change,
    operator_drains,
    gpu_breaks_or_is_mended,
    load_changes,
    helper_refuses,
    somebody_activates,
    somebody_activates,
    somebody_widens,
    person_clears,
    person_rolls_back,
)


def play_watched(seed: int, number: int, seen: Counter[str]) -> None:
    """Trouble for some minutes to hours; then all is mended, and within ten minutes the node is at rest."""
    random = Random((seed << 32) + number)
    stage, warm = random.choice([Stage.BAKING, Stage.KNOWN_GOOD]), random.random() < 0.5
    world = Watched(state=node.make_state(stage=stage, warm=warm))
    for _ in range(TROUBLES):
        trouble = random.choice(TROUBLES_OF)
        seen[f"watch {trouble.__name__}"] += 1
        trouble(world, random)
        world.run(random.choice([0.3, 2.0, 7.0, 20.0, 60.0]))
    seen["case played with the agent's Watch too"] += 1
    mend(world)
    world.run(REST_SECONDS)
    for call in world.calls:
        seen[f"watch calls {call.verb}"] += 1
    move = world.state.move
    hold(move is None or move.step in WAITS, f"I12: after 10 minutes without faults {move}")
    hold(world.watch.verdict is Verdict.OK or world.state.halted, f"I12: the verdict stays {world.watch.verdict}")
    hold(world.ejected is None or world.state.halted, "I12: a node that is well stays without traffic")


def mend(world: Watched) -> None:
    """No fault any more, in any release."""
    world.drained, world.peers, world.helper_says, world.findings = "", node.PEERS, "", ()
    world.gateway_is_up, world.gateway_is_wedged = True, False
    world.modes.clear()
    world.handle(core.Clear())
    for engine in world.engines.values():
        engine.mode = "right"
