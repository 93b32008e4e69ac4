"""Who may move a release between the tiers: one at a time, and a person before dsops itself."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from dsops.core.errors import DsopsError
from dsops.core.tiers import Tier

BUSY_SECONDS = 60.0


class GaveWayError(DsopsError):
    """What dsops was doing by itself stopped for a person; it goes on afterwards where it was."""


@dataclass(frozen=True)
class Moving:
    """What is under way. done, total: bytes that were read, and that are to be."""

    release: str
    to: Tier
    total: int
    done: int = 0


class Turn:
    """Threads of one process. moving: what is under way, None when nothing is."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_taken = False
        self._waiting = 0
        self.moving: Moving | None = None

    @contextmanager
    def take(self, moving: Moving, *, own: bool = False, seconds: float = BUSY_SECONDS) -> Iterator[None]:
        """own: dsops wants it, so it waits as long as anybody else does. Raises DsopsError after `seconds` else."""
        self._wait(own=own, seconds=seconds)
        self.moving = moving
        try:
            yield
        finally:
            with self._changed:
                self._is_taken, self.moving = False, None
                self._changed.notify_all()

    def advance(self, count: int, *, own: bool) -> None:
        """So many bytes more were read. Raises GaveWayError when somebody waits whom dsops lets go first."""
        if own and self._waiting:
            raise GaveWayError("a person's move goes first", mend="it goes on by itself afterwards")
        if self.moving:
            self.moving = replace(self.moving, done=self.moving.done + count)

    def _wait(self, *, own: bool, seconds: float) -> None:
        with self._changed:
            self._waiting += not own
            try:
                is_free = self._changed.wait_for(
                    lambda: not self._is_taken and not (own and self._waiting), timeout=None if own else seconds
                )
            finally:
                self._waiting -= not own
            if not is_free:
                raise self._tell_busy()
            self._is_taken = True

    def _tell_busy(self) -> DsopsError:
        now = self.moving
        what = f"{now.release} is being copied to the {now.to} tier" if now else "another release is being moved"
        far = f", {now.done / 1e9:.1f} of {now.total / 1e9:.1f} GB" if now and now.total else ""
        return DsopsError(
            f"{what}{far}", where="the tiers", mend="wait for it: `dsops node release list` shows how far"
        )
