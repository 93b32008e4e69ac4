"""Runs a rollout: looks, steps, writes down, and only then tells the nodes; stops the moment it is fenced off."""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from dsops.control.rollout.doors import Doors, Order, Told
from dsops.control.rollout.memory import Memory, parse_memory, remember
from dsops.control.rollout.notes import note_turn
from dsops.control.rollout.store import Asked, FencedError, Kept, Store
from dsops.core.errors import DsopsError
from dsops.core.rollout import step
from dsops.core.rollout_events import Abort, Back, Effect, Event, Fell, Look, Mark, Pause, Refused, Resume, Say, Undrain
from dsops.core.rollout_state import Rollout, Status, parse_rollout

EVERY = 3.0  # seconds between two looks
ENDING = 150.0  # for orders that are on their way when it is over
# A node whose helper is away for a moment, as in a restart (2 s), is asked again after so many seconds.
PAUSES = (3.0, 12.0)
PERSONS: dict[str, Callable[[float, str, str], Event]] = {"pause": Pause, "resume": Resume, "abort": Abort}
Key = tuple[str, bool]
Step = Callable[[Rollout, Event], tuple[Rollout, tuple[Effect, ...]]]


@dataclass
class Desk:
    """Sends orders, each in a thread of its own, and one at a time to a node; going back waits for nothing.

    busy: what is on its way; waiting: what goes to the same node after it. is_held: nothing goes forward now.
    """

    store: Store
    doors: Doors
    reason: str
    answers: "queue.Queue[tuple[Order, Told | Exception]]" = field(default_factory=queue.Queue)
    busy: dict[Key, Order] = field(default_factory=dict)
    waiting: dict[Key, Order] = field(default_factory=dict)
    is_held: bool = False
    sleep: Callable[[float], None] = time.sleep

    def send(self, order: Order, kept: Kept) -> None:
        """What is asked again while it is on its way is not sent twice."""
        key = get_key(order)
        if isinstance(order, Back):
            self.waiting.pop((order.node, False), None)
        if key not in self.busy:
            self.busy[key] = order
            self.begin(order, kept)
        elif self.busy[key] != order:
            self.waiting[key] = order

    def begin(self, order: Order, kept: Kept) -> None:
        threading.Thread(target=self.deliver, args=(order, kept), daemon=True).start()

    def deliver(self, order: Order, kept: Kept) -> None:
        """Asks first whether this controller has a say still."""
        try:
            self.answers.put((order, self.ask(order, kept)))
        except Exception as error:  # told to whoever collects: fenced off, or a bug
            self.answers.put((order, error))

    def ask(self, order: Order, kept: Kept, pauses: tuple[float, ...] = PAUSES) -> Told:
        """Again for a short while where nobody was there to do it, unless it must not be done any more."""
        self.check(order, kept)
        told = self.doors.tell(order, kept.epoch, reason=self.reason)
        if not told.is_away or not pauses:
            return replace(told, tries=1 + len(PAUSES) - len(pauses))
        self.sleep(pauses[0])
        if self.is_off(order):
            return Told(lost=f"{told.refused}; not asked again, for nothing goes forward now")
        return self.ask(order, kept, pauses[1:])

    def is_off(self, order: Order) -> bool:
        """Whether it was overtaken while it waited."""
        is_forward = not isinstance(order, Back | Undrain)
        return is_forward and (self.is_held or (order.node, True) in self.busy)

    def check(self, order: Order, kept: Kept) -> None:
        """Going back does not wait for a disk that cannot be read: the node itself refuses an old epoch."""
        try:
            self.store.check(kept)
        except FencedError:
            raise
        except DsopsError:
            if not isinstance(order, Back):
                raise

    def hold(self, is_held: bool) -> None:
        """Whether what waits, or is to be asked again, may go forward."""
        self.is_held = is_held
        if is_held:
            self.waiting = {key: order for key, order in self.waiting.items() if isinstance(order, Back | Undrain)}

    def collect(self, kept: Kept, *, wait: float = 0.0) -> list[tuple[Order, Told]]:
        """What came back; what waited for it goes out. Raises what an order ran into."""
        found: list[tuple[Order, Told]] = []
        while True:
            try:
                order, told = self.answers.get(timeout=wait) if wait else self.answers.get_nowait()
            except queue.Empty:
                return found
            key, wait = get_key(order), 0.0
            self.busy.pop(key, None)
            if isinstance(told, Exception):
                raise told
            if later := self.waiting.pop(key, None):
                self.send(later, kept)
            found.append((order, told))


@dataclass
class Runner:
    """One controller of one rollout. tell: hears each new sentence; show: hears the picture after every look."""

    store: Store
    kept: Kept
    rollout: Rollout
    memory: Memory
    doors: Doors
    desk: Desk
    tell: Callable[[str], None]
    show: Callable[[Rollout, Memory], None]
    every: float = EVERY
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    step: Step = step

    def go(self) -> Rollout:
        """Until it is over. Raises FencedError when another one has taken its place."""
        while not self.rollout.is_over:
            self.turn()
            self.show(self.rollout, self.memory)
            if not self.rollout.is_over:
                self.sleep(self.every)
        self.finish()
        return self.rollout

    def turn(self) -> None:
        """What came back, what people asked, and then a look."""
        self.take_answers()
        for asked in self.store.find_asked(self.kept):
            self.take_order(asked)
        if not self.rollout.is_over:
            nodes, alerts = self.doors.look(), self.doors.find_alerts()
            self.take(Look(self.now(), nodes, alerts, self.memory.halted))

    def take(self, event: Event, *, who: str = "dsops") -> None:
        """One event: the next state is on disk before anything of it is done."""
        after, effects = self.step(self.rollout, event)
        at = self.now()
        memory = remember(self.memory, effects, at=at)
        says = [effect.text for effect in effects if isinstance(effect, Say)]
        halted = memory.halted if memory.halted != self.memory.halted else ""
        says += [f"the fleet is halted: {halted}"] if halted else []
        try:
            self.kept = self.store.save(
                self.kept,
                after.to_json(),
                at=at,
                says=tuple(says),
                who=who,
                outcome=describe_outcome(after) if after.is_over else "",
                fleet=memory.to_json() if memory != self.memory else "",
            )
        except FencedError:
            raise
        except DsopsError:
            self.go_back_unwritten([effect for effect in effects if isinstance(effect, Back)])
            raise
        before, self.rollout, self.memory = self.rollout, after, memory
        self.desk.hold(after.status is not Status.RUNNING or bool(after.hold))
        for sentence in says:
            self.tell(sentence)
        for effect in effects:
            if not isinstance(effect, Say | Mark | Fell):
                self.send(effect)
        if isinstance(event, Look):  # what a person asked, their command tells
            note_turn(self.store.inventory, before, after, halted=halted)

    def go_back_unwritten(self, orders: list[Back]) -> None:
        """Taking traffic away never waits for a disk. Everything else does."""
        for order in orders:
            self.send(order)
        self.finish()

    def send(self, order: Order) -> None:
        """The last orders of a rollout that is over go out as well: nobody will ask for them again."""
        self.desk.send(order, self.kept)

    def take_answers(self, *, wait: float = 0.0) -> None:
        """A node's refusal is an event; what was lost is asked for again after a look."""
        for order, told in self.desk.collect(self.kept, wait=wait):
            again = f" (asked {told.tries} times)" if told.tries > 1 else ""
            if told.lost:
                self.note(f"{order.node}: could not be told ({told.lost})")
            elif told.refused.startswith(f"epoch {self.kept.epoch.number} is "):
                raise refused_by_node(order.node, told.refused)
            elif told.refused and not self.rollout.is_over and not isinstance(order, Undrain):
                self.take(Refused(self.now(), order.node, told.refused + again))
            elif told.refused:
                self.note(f"{order.node}: refused: {told.refused}{again}")
            elif again:
                self.note(f"{order.node}: took it{again}: nobody was there to do it for a moment")

    def take_order(self, asked: Asked) -> None:
        """What a person asked through the store. A refusal is their answer."""
        said = ""
        try:
            self.take(PERSONS[asked.verb](self.now(), asked.who, asked.reason), who=asked.who)
        except FencedError:
            raise
        except DsopsError as error:
            said = f"{error.what}\n{error.mend}"
        self.store.take(asked.id, at=self.now(), answer=said)

    def finish(self) -> None:
        """Waits for the orders that are on their way."""
        end = time.monotonic() + ENDING
        while self.desk.busy and time.monotonic() < end:
            self.take_answers(wait=0.2)

    def note(self, says: str) -> None:
        """A line of the log that is no event; the same one is not told twice in a row."""
        if says != self._noted:
            self._noted = says
            self.tell(says)
            with suppress(DsopsError):
                self.store.tell(self.kept, says, who="dsops", at=self.now())

    _noted: str = ""


def get_key(order: Order) -> Key:
    """What is busy while it is on its way: the node, and apart from that going back."""
    return order.node, isinstance(order, Back)


def refused_by_node(node: str, said: str) -> FencedError:
    """Another control host has taken over, and its nodes say so."""
    mend = "is another control host at work? `dsops epoch show` there; this one was restored: `dsops epoch adopt`"
    return FencedError(f"{node} refuses: {said}: this controller gives no order any more", mend=mend)


def build_runner(
    store: Store,
    kept: Kept,
    doors: Doors,
    *,
    tell: Callable[[str], None],
    show: Callable[[Rollout, Memory], None],
    every: float = EVERY,
) -> Runner:
    """From what the store holds: the state as it was written last, and this controller's epoch."""
    rollout = read_rollout(kept)
    desk = Desk(store, doors, f"rollout {kept.id}: {kept.reason}")
    return Runner(store, kept, rollout, parse_memory(store.read_fleet()), doors, desk, tell, show, every)


def read_rollout(kept: Kept) -> Rollout:
    """Its state with the epoch that counts now. Raises DsopsError."""
    return replace(parse_rollout(kept.state, where=f"rollout {kept.id}"), epoch=kept.epoch)


def describe_outcome(rollout: Rollout) -> str:
    """One line for the list of past ones."""
    if rollout.status is Status.DONE:
        return "done"
    return f"{rollout.status}: {rollout.failed or rollout.said or rollout.hold}".rstrip(": ")
