"""Shows a running rollout: in place on a terminal, in plain lines elsewhere."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dsops.control.rollout.memory import Memory
from dsops.control.rollout.view import render, render_clock, render_line, render_memory
from dsops.core.rollout_state import Rollout

# Where nothing but the counts changes, a file gets a line so often, in seconds.
PULSE = 300.0
# `316 of 800 samples` is another one at every look.
COUNTS = re.compile(r"^\d+ of \d+ samples$")


@dataclass(frozen=True)
class Screen:
    """tell: a sentence that stays; show: the picture as it is now."""

    tell: Callable[[str], None]
    show: Callable[[Rollout, Memory], None]


@contextmanager
def open_screen(console: Console, *, now: Callable[[], float] = time.time) -> Iterator[Screen]:
    """The one that fits the console."""
    if not console.is_terminal:
        yield Lines(console, now).screen
        return
    with Live(console=console, auto_refresh=False) as live:

        def show(rollout: Rollout, memory: Memory) -> None:
            picture = render(rollout, at=now(), width=console.width)
            live.update(picture, refresh=True)
            if memory.halted:
                live.console.print(Text("\n".join(render_memory(memory, at=now())[:2]), "bold red"))

        yield Screen(lambda says: live.console.print(Text(f"{render_clock(now())}  {says}")), show)


@dataclass
class Lines:
    """A line whenever something but the counts changed, and every few minutes."""

    console: Console
    now: Callable[[], float]
    shown: tuple[object, ...] = ()
    shown_at: float = 0.0

    @property
    def screen(self) -> Screen:
        return Screen(self.tell, self.show)

    def tell(self, says: str) -> None:
        self.console.print(f"{render_clock(self.now())}  {says}", markup=False, soft_wrap=True)

    def show(self, rollout: Rollout, memory: Memory) -> None:
        told = (
            rollout.status,
            rollout.step,
            COUNTS.sub("", rollout.hold),
            memory.halted,
            *((part.stand, part.share) for part in rollout.parts),
        )
        if told == self.shown and self.now() - self.shown_at < PULSE:
            return
        self.shown, self.shown_at = told, self.now()
        self.tell(render_line(rollout))
