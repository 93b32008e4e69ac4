"""Runs what may block (systemd, a disk) beside the event loop: what hangs is said, and never waited for."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Patient(Generic[T]):
    """One call at a time in a thread of its own. While one hangs no second one is begun."""

    def __init__(self, name: str, *, seconds: float) -> None:
        self.name = name
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._pending: asyncio.Future[T] | None = None

    async def read(self, call: Callable[[], T], *, otherwise: Callable[[str], T]) -> T:
        """The call's result; `otherwise(reason)` when it does not come in time. The call's own errors are raised."""
        if self._pending and not self._pending.done():
            return otherwise(f"{self.name} still hangs")
        future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        self._pending = future
        done, _ = await asyncio.wait([future], timeout=self._seconds)
        if not done:
            future.add_done_callback(_forget)
            return otherwise(f"{self.name} did not answer in {self._seconds:g} s")
        return future.result()

    def close(self) -> None:
        """Does not wait for what hangs."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _forget(future: "asyncio.Future[T]") -> None:
    if not future.cancelled():
        future.exception()
