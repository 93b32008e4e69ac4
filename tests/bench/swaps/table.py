"""What the bench prints."""

import statistics
from collections.abc import Iterable, Sequence

from tests.bench.swaps.clients import Window
from tests.bench.swaps.nodes import Counts

CALM, FLIPS, RELOADS, BETWEEN = "no swaps", "flips", "reloads", "between"
SHOWN = 10


def render(windows: Sequence[Window], counts: Counts, turns: Sequence[float] | None) -> str:
    """A row for each kind of window, what the changes added, and what was done. turns: None when nobody could see."""
    rows = [f"{'':<10}{'seconds':>9}{'answers':>10}{'1/s':>8}{'P50 ms':>9}{'P99 ms':>9}{'most ms':>9}{'lost':>7}"]
    rows += [render_row(total(windows, name)) for name in (CALM, FLIPS, RELOADS)]
    rows += [f"P99 of {name}, more than just before: {render_added(windows, name)}" for name in (FLIPS, RELOADS)]
    rows += [f"answers in all, pauses too: {count_answers(windows)}, lost {len(list(find_lost(windows)))}"]
    rows += [f"{counts.warm} flips between warm slots, {counts.starts} with start and stop"]
    if counts.switches:
        rows.append(f"all traffic led back, journal and locks too: longest {1e3 * max(counts.switches):.1f} ms")
    rows.append(render_turns(turns))
    if counts.reloads:
        middle, most = statistics.median(counts.reloads), max(counts.reloads)
        rows.append(f"{len(counts.reloads)} reloads: {middle:.1f} s (median), longest {most:.1f} s")
    rows += [f"lost in {one}" for one in list(find_lost(windows))[:SHOWN]]
    return "\n".join([*rows, *(f"refused: {one}" for one in counts.trouble[:SHOWN])])


def render_row(window: Window) -> str:
    rate = len(window.latencies) / window.seconds if window.seconds else 0.0
    most = 1e3 * max(window.latencies, default=float("nan"))
    cells = f"{window.percentile(0.5):9.1f}{window.percentile(0.99):9.1f}{most:9.1f}{len(window.lost):7}"
    return f"{window.name:<10}{window.seconds:9.0f}{len(window.latencies):10}{rate:8.0f}{cells}"


def total(windows: Iterable[Window], name: str) -> Window:
    """All windows of a kind as one."""
    ones = [window for window in windows if window.name == name]
    return Window(
        name,
        seconds=sum(window.seconds for window in ones),
        latencies=[one for window in ones for one in window.latencies],
        lost=[one for window in ones for one in window.lost],
    )


def render_added(windows: Sequence[Window], name: str) -> str:
    """Milliseconds, against the window without swaps that came just before each."""
    added, before = [], None
    for window in windows:
        before = window if window.name == CALM else before
        if window.name == name and before:
            added.append(window.percentile(0.99) - before.percentile(0.99))
    if not added:
        return "not measured"
    return f"{statistics.median(added):+.1f} ms (median of {len(added)}; {min(added):+.1f}..{max(added):+.1f})"


def render_turns(turns: Sequence[float] | None) -> str:
    if not turns:
        why = "this kernel shows no tracefs" if turns is None else "the kernel saw none"
        return f"longest rename of a link: not known, {why}"
    middle = 1e3 * statistics.median(turns)
    return f"{len(turns)} links turned: a rename took {middle:.3f} ms (median), the longest {1e3 * max(turns):.3f} ms"


def count_answers(windows: Iterable[Window]) -> int:
    return sum(len(window.latencies) for window in windows)


def find_lost(windows: Iterable[Window]) -> Iterable[str]:
    return (f"{window.name}: {one}" for window in windows for one in window.lost)


def find_faults(windows: Iterable[Window], counts: Counts) -> list[str]:
    """What must not be: whatever was lost while no reload went on, and whatever was refused."""
    return [*find_lost(window for window in windows if window.name != RELOADS), *counts.trouble]
