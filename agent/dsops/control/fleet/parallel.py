"""Asks all servers at once; a dead one never delays the answer beyond the deadline."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from dsops.control.fleet.inventory import Server
from dsops.core.errors import DsopsError

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What one server answered, or why it did not."""

    server: Server
    value: T | None = None
    error: DsopsError | None = None
    seconds: float = 0.0

    @property
    def reason(self) -> str:
        return self.error.what if self.error else ""


def ask_all(servers: Sequence[Server], ask: Callable[[Server], T], *, deadline: float) -> list[Outcome[T]]:
    """One thread a server, in the servers' order. deadline in seconds. A bug in `ask` is raised."""
    answers: queue.Queue[tuple[str, Outcome[T] | Exception]] = queue.Queue()
    start = time.monotonic()
    for server in servers:
        # Daemon threads: one that hangs in a read must not keep the program from ending.
        threading.Thread(target=_ask_one, args=(server, ask, answers), daemon=True).start()
    found: dict[str, Outcome[T]] = {}
    while len(found) < len(servers):
        try:
            name, outcome = answers.get(timeout=max(0.0, start + deadline - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(outcome, Exception):
            raise outcome
        found[name] = outcome
    late = DsopsError(f"no answer in {deadline:g} s")
    return [found.get(s.name) or Outcome(s, error=late, seconds=deadline) for s in servers]


def _ask_one(
    server: Server, ask: Callable[[Server], T], answers: "queue.Queue[tuple[str, Outcome[T] | Exception]]"
) -> None:
    start = time.monotonic()
    try:
        value = ask(server)
        answers.put((server.name, Outcome(server, value, seconds=time.monotonic() - start)))
    except DsopsError as error:
        answers.put((server.name, Outcome(server, error=error, seconds=time.monotonic() - start)))
    except Exception as bug:
        answers.put((server.name, bug))
