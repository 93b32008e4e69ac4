"""Asks what may hang (a dying disk) in a thread of its own, and waits only so long."""

import threading
from collections.abc import Callable
from typing import TypeVar

from dsops.core.errors import DsopsError

T = TypeVar("T")


class Hurry:
    """One call at a time; while one hangs no second one is begun."""

    def __init__(self, name: str, *, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self._hanging: threading.Thread | None = None
        self._lock = threading.Lock()

    def ask(self, call: Callable[[], T]) -> T:
        """The call's result, or its error. Raises DsopsError when it does not come in time."""
        results: list[T] = []
        errors: list[Exception] = []

        def work() -> None:
            try:
                results.append(call())
            except Exception as error:
                errors.append(error)

        mend = "look at the disk: `dmesg`, `smartctl -a`"
        with self._lock:
            if self._hanging and self._hanging.is_alive():
                raise DsopsError(f"{self._name} still hangs", mend=mend)
            thread = threading.Thread(target=work, daemon=True, name=self._name)
            self._hanging = thread
            thread.start()
            thread.join(self._seconds)
        if errors:
            raise errors[0]
        if not results:
            raise DsopsError(f"{self._name} did not answer in {self._seconds:g} s", mend=mend)
        return results[0]
