"""Takes events through the brain: locks, journals, acts, and after a kill goes on where the journal says."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from dsops.core.errors import DsopsError
from dsops.core.events import Aged, Done, Event, Failed, Resumed, Take
from dsops.core.node import pending_effects, step
from dsops.core.state import WAITS, Epoch, NodeState, Policy, Step
from dsops.node.helper.effects import Hands
from dsops.node.helper.tell import Note, Told, tell
from dsops.node.store.disk import Disk
from dsops.node.store.journal import Journal, Record, Scan, read_state
from dsops.node.store.lock import hold_lock

OWN = Note("dsops")
Make = Callable[[NodeState], Event]
Then = Callable[[NodeState], None]
Witness = Callable[[Record, NodeState, Note], None]


class Book(Protocol):
    """A journal and its lock, where a node is only played."""

    def hold(self) -> AbstractContextManager[None]: ...

    def load(self) -> Scan: ...

    def append(self, record: Record) -> Record: ...

    def read(self) -> tuple[NodeState, int]: ...


def ignore(record: Record, before: NodeState, note: Note) -> None:
    """For whoever keeps no audit."""


def do_nothing(state: NodeState) -> None:
    """What mostly is to be done beside the brain's effects."""


@dataclass
class Session:
    """The state while the lock is held. did: what effects did, in words."""

    state: NodeState
    seq: int
    did: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Moves:
    """The one way in which a node's state changes."""

    root: Path
    policy: Policy
    disk: Disk
    hands: Hands
    now: Callable[[], float]
    # Whether there is memory to let the slot that was left run on.
    can_keep_warm: Callable[[], bool] = lambda: True
    # What surrounds the release now; kept with one that becomes known-good.
    environment: Callable[[], str] = lambda: ""
    # None: the journal below root.
    book: Book | None = None
    # Hears of each transition once it is journalled; waits for nothing and raises nothing.
    witness: Witness = ignore

    def read(self) -> tuple[NodeState, int]:
        """The state and its number, as last written."""
        return self.book.read() if self.book else read_state(self.root)

    def begin(self) -> None:
        """Makes sure that there is a state: the first one is taken from the links."""
        with self._session():
            pass

    def act(
        self,
        event: Event | Make,
        *,
        note: Note,
        epoch: Epoch | None = None,
        then: Then = do_nothing,
    ) -> NodeState:
        """One event and all that follows from it, until the move ends or waits for its proof; the state then.

        event: or what makes it from the state; it may refuse. then: done under the lock, after the journal was written.
        """
        with self._session() as session:
            self._resume(session)
            with suppress(DsopsError):
                self._mend(session)
            try:
                event = event(session.state) if callable(event) else event
                after, _ = step(session.state, event, self.policy)
            except DsopsError:
                self._keep_epoch(session, epoch)
                raise
            self._write(session, after, tell(event, session.state, after, note=note), note)
            then(session.state)
            if error := self._finish(session):
                raise error
            return session.state

    def age(self) -> NodeState:
        """Asked often, and mostly nothing changes: then nothing is written."""
        state, _ = self.read()
        event = Aged(self.now())
        if step(state, event, self.policy)[0] == state:
            return state
        return self.act(replace(event, environment=self.environment()), note=OWN)

    def note(self, told: Told, *, note: Note, then: Then) -> NodeState:
        """A line of history for what changes no state, done under the lock."""
        with self._session() as session:
            self._mend(session)
            self._write(session, session.state, told, note)
            then(session.state)
            return session.state

    def recover(self) -> tuple[NodeState, list[str]]:
        """Goes on with what a kill or an error left undone, and mends links; (state, what was done).

        Raises DsopsError when it still cannot be done.
        """
        with self._session() as session:
            if error := self._resume(session):
                raise error
            return session.state, [*session.did, *self._mend(session)]

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with self.book.hold() if self.book else hold_lock(self.root):
            scan = self._journal.load()
            for sentence in scan.spoiled:
                self.hands.log(f"the journal is damaged: {sentence}")
            if scan.records:
                yield Session(scan.records[-1].state, scan.records[-1].seq)
                return
            self.hands.pointers.ensure_ballast()
            session = Session(NodeState(), 0)
            found = self.hands.pointers.find_state(at=self.now())
            lost = f"; lost: {'; '.join(scan.spoiled)}" if scan.spoiled else ""
            release = found.active.release if found.active else ""
            self._write(session, found, Told("begin", release, f"the state is taken from the links{lost}"), OWN)
            with suppress(DsopsError):
                self._mend(session)  # a canary whose move was lost: its lanes lead back
            yield session

    @property
    def _journal(self) -> Book | Journal:
        return self.book or Journal(self.root, self.disk)

    def _write(self, session: Session, after: NodeState, told: Told, note: Note) -> None:
        record = Record(
            seq=session.seq + 1,
            at=self.now(),
            event=told.event,
            release=told.release,
            says=told.says,
            who=note.who,
            state=after,
        )
        written = self._journal.append(record)
        self.witness(written, session.state, note)
        session.seq, session.state = written.seq, after

    def _resume(self, session: Session) -> DsopsError | None:
        """As `_finish`, for what a kill or an error left undone: the try is counted first.

        A disk that does not take the count keeps nobody from making traffic safe.
        """
        if session.state.move:
            with suppress(DsopsError):
                self._advance(session, Resumed(self.now()))
        return self._finish(session)

    def _finish(self, session: Session) -> DsopsError | None:
        """Does what the move must do now, step after step; the first error that kept it from its aim."""
        failed: DsopsError | None = None
        while (move := session.state.move) and move.step not in WAITS:
            try:
                for effect in pending_effects(session.state):
                    session.did.append(self.hands.do(effect))
            except DsopsError as error:
                self.hands.log(f"{move.kind} of {move.release}, step {move.step}: {error}")
                if move.step is Step.TIDY:
                    return failed  # the traffic is where it should be; the next recover tidies
                failed = failed or error
                if not self._advance(session, Failed(self.now(), str(error))):
                    return failed
                continue
            self._advance(session, Done(self.now(), keep_warm=self.can_keep_warm()))
        return failed

    def _mend(self, session: Session) -> list[str]:
        """Slots and lanes that somebody turned or took away by hand; what was wrong."""
        mended = self.hands.pointers.mend(session.state)
        if mended:
            self._write(session, session.state, Told("mend", "", "; ".join(mended)), OWN)
        return mended

    def _advance(self, session: Session, event: Done | Failed | Resumed) -> bool:
        after, _ = step(session.state, event, self.policy)
        if after == session.state:
            return False
        note = Note(session.state.move.who if session.state.move else OWN.who)
        self._write(session, after, tell(event, session.state, after, note=note), note)
        return True

    def _keep_epoch(self, session: Session, epoch: Epoch | None) -> None:
        """A newer control host was heard, whatever else was wrong with what it asked: an older one is refused now."""
        if epoch is None or epoch == session.state.epoch:
            return
        take = Take(epoch)
        try:
            after, _ = step(session.state, take, self.policy)
        except DsopsError:
            return
        self._write(session, after, tell(take, session.state, after, note=OWN), OWN)
