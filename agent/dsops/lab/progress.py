"""Shows each step with its seconds: a live line on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

Note = Callable[[str], None]


class Show(Protocol):
    def begin(self, name: str) -> None: ...
    def end(self, name: str, note: str, seconds: float) -> None: ...


def render(name: str, note: str, seconds: float) -> str:
    return f"  {name:<10} {seconds:5.1f} s  {note}"


class Lines:
    """For logs and pipes."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write

    def begin(self, name: str) -> None:
        pass

    def end(self, name: str, note: str, seconds: float) -> None:
        self.write(render(name, note, seconds))


class Bars:
    """For people: what runs now turns, what is done stays as a line."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self.progress = Progress(*columns, console=console, transient=True)
        self.tasks: dict[str, TaskID] = {}

    def begin(self, name: str) -> None:
        self.progress.start()
        self.tasks[name] = self.progress.add_task(name, total=None)

    def end(self, name: str, note: str, seconds: float) -> None:
        self.progress.remove_task(self.tasks.pop(name))
        self.progress.console.print(render(name, note, seconds), highlight=False, markup=False)
        if not self.tasks:
            self.progress.stop()


def get_show(console: Console) -> Show:
    if console.is_terminal:
        return Bars(console)
    return Lines(lambda line: print(line, flush=True))


@contextmanager
def step(show: Show, name: str) -> Iterator[list[str]]:
    """Time one step. Put its result into the list that it gives; "failed" is told too."""
    begin = time.monotonic()
    notes: list[str] = []
    show.begin(name)
    try:
        yield notes
    except BaseException:
        show.end(name, "failed", time.monotonic() - begin)
        raise
    show.end(name, ", ".join(notes) or "ok", time.monotonic() - begin)
