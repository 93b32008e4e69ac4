"""Shows a list of steps with their seconds: a spinner on a terminal, plain lines otherwise; sizes for people."""

import time
from types import TracebackType

from rich.console import Console
from rich.status import Status


class Steps:
    """`start` ends the step before it. Used as a context manager; an error leaves the step marked as failed."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.name = ""
        self.since = 0.0
        self.status: Status | None = None

    def __enter__(self) -> "Steps":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end("failed" if kind else "")

    def start(self, name: str) -> None:
        """Ends the running step and shows the next."""
        self._end("")
        self.name, self.since = name, time.monotonic()
        if self.console.is_terminal:
            self.status = self.console.status(name)
            self.status.start()

    def _end(self, verdict: str) -> None:
        if self.status:
            self.status.stop()
            self.status = None
        if self.name:
            seconds = time.monotonic() - self.since
            self.console.print(f"  {self.name:<28} {seconds:6.1f} s  {verdict}".rstrip(), highlight=False)
        self.name = ""


def render_bytes(count: float) -> str:
    """A size for people: 999 B, 4.2 MB, 15.3 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
