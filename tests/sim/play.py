"""Schedule n of seed s: the node that it begins with, and how it is played, twice where that is due."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from random import Random

from dsops.core.errors import DsopsError
from dsops.core.events import Effect, Event
from dsops.core.state import NodeState

from tests.sim.invariants import Account, BrokenError, hold
from tests.sim.runner import Lean
from tests.sim.schedule import NATURES, Play, activate, agent_looks_for_a_while
from tests.sim.watched import play_watched
from tests.sim.world import POLICY, RELEASES, World

STRIDE = 10_000_019
EVENTS = 40
# So many schedules begin with the same events; each of them is played once, and then goes its own way.
TAILS, SHARED = 8, 24
# Every so manieth is played a second time, by the helper's real Moves.
TWICE = 40
Act = Callable[[Play], None]


@lru_cache(maxsize=1)
def get_bases() -> tuple[tuple[World, Account], ...]:
    """Nodes to begin with, each played without a fault: from a new one to one with four good releases."""
    lives: tuple[tuple[Act, ...], ...] = (
        (),
        (bring(0), bake, age),
        (bring(0), bake, age, bring(1)),
        (bring(0), bake, bring(1), bake),
        (bring(0), bake, age, bring(1), bake, age, start_canary(2)),
        (bring(0), bake, bring(1), go_back, bake, bring(2)),
        (bring(0), bake, bring(1), bake, bring(2), bake, bring(3), bake),
    )
    return tuple(_live(life) for life in lives)


def _live(life: Sequence[Act]) -> tuple[World, Account]:
    world, account = World(Random(0)), Account()
    one = Play(world, account, Counter())
    for act in life:
        act(one)
        one.invariants.rest()
    return world, account


def bring(number: int) -> Act:
    """A release comes in and gets all of the traffic."""

    def act(one: Play) -> None:
        activate(one, RELEASES[number], share=100)
        agent_looks_for_a_while(one)
        assert one.world.state.active
        assert one.world.state.active.release == RELEASES[number]

    return act


def start_canary(number: int) -> Act:
    """A release comes in and gets a share."""

    def act(one: Play) -> None:
        activate(one, RELEASES[number], share=5)
        agent_looks_for_a_while(one)
        assert one.world.state.canary

    return act


def bake(one: Play) -> None:
    one.world.ticks += POLICY.bake_seconds
    one.age()


def age(one: Play) -> None:
    one.world.ticks += POLICY.known_good_seconds
    one.age()


def go_back(one: Play) -> None:
    one.roll_back(own=False, lasting=False)
    agent_looks_for_a_while(one)


def play(seed: int, numbers: Iterable[int], seen: Counter[str], *, watched: int = 0) -> int:
    """Schedules by their numbers; the events that were played. Raises BrokenError where an invariant does not hold."""
    group, begun, events = -1, None, 0
    for number in numbers:
        if begun is None or number // TAILS != group:
            group = number // TAILS
            begun = begin(seed, number, seen)
            with named(seed, number):
                begun.run(SHARED)
            events += SHARED
        with named(seed, number):
            one = begun.go_on(find_random(seed, number), seen)
            finish(one)
        events += EVENTS - SHARED
        if number % TWICE == 0:
            with named(seed, number):
                play_for_real(seed, number, one, seen)
            events += EVENTS
        if watched and number % watched == 0:
            with named(seed, number):
                play_watched(seed, number, seen)
    return events


@contextmanager
def named(seed: int, number: int) -> Iterator[None]:
    """Whatever breaks says how it is played again."""
    try:
        yield
    except (AssertionError, DsopsError) as error:
        raise BrokenError(f"{seed}:{number} {error}") from error


def find_random(seed: int, number: int) -> Random:
    """Of a schedule's own events."""
    return Random((seed * STRIDE + number) * 2 + 1)


def begin(seed: int, number: int, seen: Counter[str], *, is_real: bool = False) -> Play:
    """The node before the first event, of the schedules that begin alike."""
    random = Random((seed * STRIDE + number // TAILS) * 2)
    bases = get_bases()
    base, account = bases[int(random.random() * len(bases))]
    world = base.copy(random)
    world.natures = {release: NATURES[int(random.random() * len(NATURES))] for release in RELEASES}
    for one in world.slots.values():
        world.natures[one.release] = ""
    return Play(world, account.copy(), seen, is_real=is_real)


def finish(one: Play) -> None:
    """The schedule's own events, and then none: it must come to rest."""
    one.run(EVENTS - SHARED)
    one.i12_it_comes_to_rest()


def play_for_real(seed: int, number: int, lean: Play, seen: Counter[str]) -> None:
    """The same schedule by the helper's Moves: it must end where the lean one did."""
    one = begin(seed, number, Counter(), is_real=True)
    one.run(SHARED)
    one.reseed(find_random(seed, number))
    finish(one)
    hold(one.world.snapshot() == lean.world.snapshot(), "Moves and the lean way end apart")
    hold(one.world.seq == lean.world.seq, "Moves and the lean way wrote another number of records")
    seen["case played by the real Moves too"] += 1


def replay(seed: int, number: int, *, tell: Callable[[str], None] = print) -> bool:
    """Step by step, in words; whether all invariants hold."""
    one = begin(seed, number, Counter())
    world, edge, effect = one.world, one.invariants.edge, one.invariants.effect
    world.say = lambda *words: tell(" ".join(str(word) for word in words))

    def say_edge(before: NodeState, event: Event, after: NodeState) -> None:
        tell(f"  journal {world.seq}: {event}")
        tell(f"    -> {describe(after)}")
        edge(before, event, after)

    def say_effect(done: Effect) -> None:
        tell(f"    {done}; lanes {' '.join(lane or '-' for lane in world.lanes)}")
        effect(done)

    world.check = say_effect
    one.helper = Lean(world, say_edge)
    tell(f"begins with {describe(world.state)}")
    try:
        one.run(SHARED)
        one.reseed(find_random(seed, number))
        finish(one)
        play_for_real(seed, number, one, Counter())
        play_watched(seed, number, Counter())
    except (AssertionError, DsopsError) as error:
        tell(f"BROKEN: {error}")
        return False
    tell(f"held; {describe(world.state)}")
    return True


def describe(state: NodeState) -> str:
    """What matters of it, in a line."""
    move, active = state.move, state.active
    slots = " ".join(f"{held.slot}={held.release or '-'}" for held in state.slots)
    moves = f"{move.kind} {move.release} in {move.slot} {move.step} {move.share} % turns {move.turns}" if move else "-"
    good = ",".join(one.release for one in state.fallbacks)
    bad = ",".join(one.release for one in state.bad)
    served = f"{active.release} in {active.slot} {active.stage}" if active else "-"
    rest = f"back {good or '-'}; bad {bad or '-'}; warm {state.warm or '-'}; halted {state.halted or '-'}"
    return f"active {served}; move {moves}; {slots}; {rest}"
