"""Keeps the tiers as they should be, in a thread beside the verbs; a kill costs nothing but the time."""

import sys
import threading
import traceback
from collections.abc import Callable

from dsops.core.errors import DsopsError
from dsops.node.helper.desk import Desk
from dsops.node.helper.tiers import tidy
from dsops.node.store.turn import GaveWayError


class Keeper:
    """tidy: does all there is to do; it may be done again at any time."""

    def __init__(self, tidy: Callable[[], None], *, log: Callable[[str], None]) -> None:
        self._tidy = tidy
        self._log = log
        self._lock = threading.Lock()
        self._again = False
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the process should not end now."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """Something changed: it looks again. Returns at once."""
        with self._lock:
            self._again = True
            if not self.is_busy:
                self._thread = threading.Thread(target=self._run, daemon=True, name="keeper")
                self._thread.start()

    def _run(self) -> None:
        while self._take():
            try:
                self._tidy()
            except GaveWayError:
                self._again = True  # its next turn comes when the person's move has ended
            except DsopsError as error:
                self._log(f"the tiers: {error}")
            except Exception:
                traceback.print_exc(file=sys.stderr)

    def _take(self) -> bool:
        with self._lock:
            again, self._again = self._again, False
            if not again:
                self._thread = None
            return again


def build_keeper(desk: Desk) -> Keeper | None:
    """None where there is no cold tier."""
    return Keeper(lambda: tidy(desk), log=desk.hands.log) if desk.tiers else None
