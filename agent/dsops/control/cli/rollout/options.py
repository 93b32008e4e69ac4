"""What the verbs of `dsops rollout` share: the site, its store, and how a rollout is run in the foreground."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from dsops.control.cli.status import make_console
from dsops.control.fleet.inventory import Fleet, get_fleet
from dsops.control.rollout.doors import Doors, RealDoors
from dsops.control.rollout.lock import Holder, find_lock, read_holder
from dsops.control.rollout.run import Runner, build_runner, read_rollout
from dsops.control.rollout.store import FencedError, Kept, Store
from dsops.control.rollout.view import render_controller, render_memory
from dsops.control.rollout.watch import open_screen
from dsops.core.errors import DsopsError
from dsops.core.rollout_state import Rollout, Status

STOPPED = 130
FAILED = 1
# What a controller that lives needs at most to hear an order: a look, and the orders before.
HEARS = 30.0
REASON = click.option("--reason", required=True, help="Why; kept in the rollout's history.")
WITHOUT_ALERTS = click.option(
    "--without-alerts", is_flag=True, help="Go on without looking at alerts, where they cannot be read."
)
EVERY = click.option(
    "--every", type=click.FloatRange(min=0.05), default=3.0, show_default=True, help="Seconds between two looks."
)


@dataclass(frozen=True)
class Site:
    """A fleet, and what this control host remembers of it."""

    fleet: Fleet
    store: Store

    @property
    def holder(self) -> Holder | None:
        """Who runs the rollout, or ran it last."""
        return read_holder(find_lock(self.store.folder, self.store.inventory))

    @property
    def is_run(self) -> bool:
        """Whether a controller lives."""
        return bool(self.holder and self.holder.held)


def open_site(inventory: Path, state: Path) -> Site:
    """Raises DsopsError."""
    fleet = get_fleet(inventory)
    return Site(fleet, Store(state, fleet.path))


def get_active(site: Site) -> Kept:
    """Raises DsopsError when there is none."""
    if kept := site.store.find_active():
        return kept
    raise DsopsError("no rollout is active", where=str(site.fleet.path), mend="`dsops rollout list` shows past ones")


def make_doors(site: Site, rollout: Rollout, *, who: str, alerts: bool) -> RealDoors:
    """To the nodes that take part."""
    alone = frozenset(part.node for part in rollout.parts if part.alone)
    return RealDoors(site.fleet, tuple(part.node for part in rollout.parts), who, alerts, alone)


def run_rollout(
    site: Site, kept: Kept, doors: Doors, *, every: float, first: Callable[[Runner], None] = lambda _: None
) -> int:
    """In the foreground until it is over; the exit status. first: said to the runner before it begins to look."""
    console = make_console()
    with open_screen(console) as screen:
        runner = build_runner(site.store, kept, doors, tell=screen.tell, show=screen.show, every=every)
        try:
            first(runner)
            runner.go()
        except KeyboardInterrupt:
            is_stopped = True
        else:
            is_stopped = False
    if is_stopped:
        console.print(render_stopped(runner.rollout), markup=False)
        return STOPPED
    console.print("\n".join(render_end(runner)), markup=False)
    return 0 if runner.rollout.status is Status.DONE else FAILED


def render_stopped(rollout: Rollout) -> str:
    """After Ctrl-C."""
    have = ", ".join(f"{part.node} {part.share} %" for part in rollout.members if part.share) or "no node has it"
    return (
        f"Stopped looking. The nodes stay as they are ({have}), and each goes on watching its own canary.\n"
        "Go on: `dsops rollout resume`. Take it back: `dsops rollout abort --reason ...`."
    )


def render_end(runner: Runner) -> list[str]:
    """How it ended, and what is left to know."""
    rollout, memory = runner.rollout, runner.memory
    if rollout.status is Status.DONE:
        have = sum(part.share == 100 for part in rollout.members)
        lines = [f"{rollout.release} has all the traffic of {have} of {len(rollout.members)} nodes."]
        others = [f"{part.node} ({part.reason or part.stand})" for part in rollout.members if part.share < 100]
        lines += [f"Not on {', '.join(others)}."] if others else []
        lines.append("It is on trial there for its bake window: `dsops status`; `dsops rollback` goes back.")
    else:
        left = [part.node for part in rollout.members if part.share and not part.is_shut]
        lines = [f"{rollout.release} was taken back: {rollout.failed or rollout.said or 'as it was asked'}."]
        lines += [f"Still on {', '.join(left)}: `dsops rollback {' '.join(left)}`."] if left else []
        lines += [render_shut(part.node, rollout.release) for part in rollout.parts if part.is_shut]
    return lines + render_memory(memory, at=time.time())


def render_shut(node: str, release: str) -> str:
    """One that was empty before, and failed."""
    return (
        f"{node} is drained and has {release} still, for it has nothing to go back to: bring it another release with "
        f"`dsops release activate ID {node}`, then `dsops undrain {node}`."
    )


def leave_order(
    site: Site,
    kept: Kept,
    verb: str,
    *,
    who: str,
    reason: str,
    seconds: float = HEARS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Asks the controller that runs, and waits until it has heard it. Raises DsopsError with its refusal."""
    number = site.store.ask(kept, verb, who=who, reason=reason, at=time.time())
    end = clock() + seconds
    while (answer := site.store.find_answer(number)) is None:
        if clock() >= end or not site.is_run:
            raise _withdraw(site, kept, number, verb)
        sleep(0.2)
    if answer:
        what, _, mend = answer.partition("\n")
        raise DsopsError(what, mend=mend)


def _withdraw(site: Site, kept: Kept, number: int, verb: str) -> DsopsError:
    """So that nobody hears it later, when nobody expects it any more."""
    site.store.take(number, at=time.time(), answer="withdrawn")
    controller = render_controller(site.holder, read_rollout(kept))
    mend = f'`dsops lock break --reason "..." --i-know`, then `dsops rollout {verb}` again'
    return DsopsError(f"nobody heard it. {controller}", where=f"rollout {kept.id}", mend=mend if site.is_run else "")


__all__ = [
    "EVERY",
    "REASON",
    "WITHOUT_ALERTS",
    "FencedError",
    "Site",
    "get_active",
    "leave_order",
    "make_doors",
    "open_site",
    "run_rollout",
]
