"""Work of the helper's own, in a thread beside the verbs; a kill costs nothing but the time."""

import sys
import threading
import traceback
from collections.abc import Callable

from dsops.core.errors import DsopsError


class Beside:
    """One piece of work at a time."""

    def __init__(self, *, log: Callable[[str], None]) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        """Whether the process should not end now."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, work: Callable[[], None]) -> None:
        """Unless something is under way already. Returns at once."""
        with self._lock:
            if not self.is_busy:
                self._thread = threading.Thread(target=self._run, args=(work,), daemon=True, name="beside")
                self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except DsopsError as error:
            self._log(str(error))
        except Exception:
            traceback.print_exc(file=sys.stderr)
