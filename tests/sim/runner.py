"""The way in which a node's state changes, played twice: lean, and by the helper's real Moves over a played disk."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.events import Aged, Done, Effect, Event, Failed, Resumed, Take
from dsops.core.lanes import find_lanes
from dsops.core.node import pending_effects, step
from dsops.core.state import SLOTS, WAITS, Epoch, Move, NodeState, Step
from dsops.node.helper.moves import Moves
from dsops.node.helper.tell import Note
from dsops.node.store.journal import Record, Scan

from tests.sim.world import LANE_NAMES, POLICY, World

Watcher = Callable[[NodeState, Event, NodeState], None]
Make = Callable[[NodeState], Event]


class Lean:
    """What Moves does, without its words, locks and records. `edge` hears every transition before it is written."""

    def __init__(self, world: World, edge: Watcher) -> None:
        self._world = world
        self._edge = edge

    def act(self, make: Make, *, epoch: Epoch | None = None) -> None:
        """One event and all that follows from it. Raises DsopsError when it is refused, or could not be done."""
        world = self._world
        self._resume()
        with suppress(DsopsError):
            self._mend()
        before = world.state
        try:
            event = make(before)
            after, _ = step(before, event, POLICY)
        except DsopsError:
            self._keep_epoch(epoch)
            raise
        self._write(before, event, after)
        if error := self._finish():
            raise error

    def age(self) -> None:
        """As Moves.age: mostly nothing changes, and nothing is written."""
        event = Aged(self._world.now)
        if step(self._world.state, event, POLICY)[0] != self._world.state:
            self.act(lambda _: event)

    def recover(self) -> None:
        """Goes on where the journal says."""
        if error := self._resume():
            raise error
        self._mend()

    def _resume(self) -> DsopsError | None:
        move = self._world.state.move
        if move and move.step not in WAITS:  # there it changes nothing
            with suppress(DsopsError):
                self._advance(Resumed(self._world.now))
        return self._finish()

    def _finish(self) -> DsopsError | None:
        world, failed = self._world, None
        while (move := world.state.move) and move.step not in WAITS:
            try:
                for effect in pending_effects(world.state):
                    world.do(effect)
            except DsopsError as error:
                if move.step is Step.TIDY:
                    return failed
                failed = failed or error
                if not self._advance(Failed(world.now, "it cannot be done")):
                    return failed
                continue
            self._advance(Done(world.now, keep_warm=world.memory))
        return failed

    def _advance(self, event: Event) -> bool:
        world = self._world
        before = world.state
        after, _ = step(before, event, POLICY)
        if after == before:
            return False
        self._write(before, event, after)
        return True

    def _write(self, before: NodeState, event: Event, after: NodeState) -> None:
        """The invariants hear of it once the record lasts, which it may even if the helper ends in the middle."""
        world, seq = self._world, self._world.seq
        try:
            world.write(after)
        finally:
            if world.seq != seq:
                self._edge(before, event, after)

    def _mend(self) -> None:
        if mend_links(self._world):
            self._world.write(self._world.state)

    def _keep_epoch(self, epoch: Epoch | None) -> None:
        world = self._world
        if epoch is None or epoch == world.state.epoch:
            return
        try:
            after, _ = step(world.state, Take(epoch), POLICY)
        except DsopsError:
            return
        self._write(world.state, Take(epoch), after)


def find_wrong(world: World) -> list[str]:
    """As Pointers.find_damage: links and lanes that do not lead where the state says."""
    state, links = world.state, world.links
    wrong = [held.slot for held in state.slots if links[held.slot] != held.release]
    if not is_turning(state) and world.lanes != (aim := find_aim(state)):
        wrong += [lane for lane, to, want in zip(LANE_NAMES, world.lanes, aim, strict=True) if to != want]
    return wrong


def is_turning(state: NodeState) -> bool:
    """Whether it cannot be said now where the lanes lead."""
    return state.active is None or (state.move is not None and state.move.step in (Step.SWITCH, Step.RETURN))


def find_aim(state: NodeState) -> tuple[str, ...]:
    """Where each lane must lead while nothing is just turned: to the active slot, a canary's to the canary."""
    move = state.move
    return _aim(state.active.slot if state.active else "", move if move and move.step is Step.CANARY else None)


def _aim(stable: str, canary: Move | None) -> tuple[str, ...]:
    if canary is None:
        return _ALL[stable]
    theirs = find_lanes(canary.share)
    return tuple(canary.slot if lane in theirs else stable for lane in LANE_NAMES)


_ALL = {slot: (slot,) * len(LANE_NAMES) for slot in ("", *SLOTS)}


def mend_links(world: World) -> bool:
    """As Pointers.mend; whether anything was wrong."""
    if not find_wrong(world):
        return False
    if world.bad_links:
        raise DsopsError("the disk refuses", where="slots", mend="")
    for held in world.state.slots:
        world.links[held.slot] = held.release
    if not is_turning(world.state):
        world.lanes = find_aim(world.state)
    world.tampered = False
    return True


# --- the real one ----------------------------------------------------------------------------------------------------


@dataclass
class Book:
    """A journal of one record in memory, and all that was told. `cut` and errors are the world's."""

    world: World
    last: Record
    told: list[Record]

    def hold(self) -> AbstractContextManager[None]:
        return nullcontext()

    def read(self) -> tuple[NodeState, int]:
        return self.world.state, self.world.seq

    def load(self) -> Scan:
        return Scan((replace(self.last, state=self.world.state, seq=self.world.seq),))

    def append(self, record: Record) -> Record:
        assert record.seq == self.world.seq + 1, "I10: one number for each record"
        assert record.event, "I10: a record says what happened"
        assert record.says, "I10: a record says what happened"
        assert record.who, "I10: a record names who"
        move = self.world.state.move
        if record.event == "proven" and move:
            self.world.take_proof(move.slot)
        self.world.write(record.state)
        self.told.append(record)
        return record


@dataclass
class Hands:
    """Effects on the played node; R4: each is what the journal's newest record says is to be done."""

    world: World
    logged: list[str]

    @property
    def pointers(self) -> "Hands":
        return self

    def do(self, effect: Effect) -> str:
        assert effect in pending_effects(self.world.state), f"R4: {effect} before it was in the journal"
        self.world.do(effect)
        return "done"

    def log(self, says: str) -> None:
        self.logged.append(says)

    def mend(self, state: NodeState) -> list[str]:
        assert state is self.world.state or state == self.world.state
        return ["links"] if mend_links(self.world) else []


class Real:
    """The helper's Moves over the played node."""

    def __init__(self, world: World) -> None:
        self._world = world
        first = Record(0, 0.0, "begin", "", "begin", "dsops", world.state)
        self.book = Book(world, first, [])
        self.hands = Hands(world, [])
        hands: Any = self.hands
        self._moves = Moves(
            root=Path("/nowhere"),
            policy=POLICY,
            disk=None,  # type: ignore[arg-type]
            hands=hands,
            now=lambda: world.now,
            can_keep_warm=lambda: world.memory,
            book=self.book,
        )

    def act(self, make: Make, *, epoch: Epoch | None = None) -> None:
        self._moves.act(make, note=Note("kim", "x"), epoch=epoch)

    def age(self) -> None:
        self._moves.age()

    def recover(self) -> None:
        self._moves.recover()
