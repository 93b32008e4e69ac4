"""Shows how far several nodes' transfers are: bars on a terminal, a plain line now and then otherwise."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from dsops.control.progress import render_bytes

EVERY_SECONDS = 5.0


@dataclass
class _Way:
    total: int
    task: TaskID
    began: float
    told: float
    sent: int = 0


@dataclass
class Transfers:
    """Used as a context manager. `begin` and `advance` may be called from the nodes' threads."""

    console: Console
    clock: Callable[[], float] = time.monotonic
    _ways: dict[str, _Way] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        columns = TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
        self._bars = Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)

    def __enter__(self) -> "Transfers":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def begin(self, node: str, total: int) -> None:
        """`total` bytes are to go to the node."""
        with self._lock:
            now = self.clock()
            self._ways[node] = _Way(total, self._bars.add_task(node, total=total), now, now)
        if not self.console.is_terminal and total:
            self.console.print(f"  {node}: {render_bytes(total)} to send", highlight=False)

    def advance(self, node: str, count: int) -> None:
        """`count` bytes more went."""
        with self._lock:
            way = self._ways[node]
            way.sent += count
            self._bars.advance(way.task, count)
            now = self.clock()
            if self.console.is_terminal or now - way.told < EVERY_SECONDS:
                return
            way.told = now
            speed = way.sent / max(now - way.began, 0.001)
        done = f"{render_bytes(way.sent)} of {render_bytes(way.total)}"
        self.console.print(f"  {node}: {done}, {render_bytes(speed)}/s", highlight=False)
