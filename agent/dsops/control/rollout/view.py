"""The picture of a rollout: lanes of each node, samples, what the gates say, what comes next and when. Pure."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dsops.control.rollout.lock import Holder, describe_holder
from dsops.control.rollout.memory import Memory, find_recent
from dsops.control.rollout.store import Kept, Line
from dsops.core.lanes import LANES, find_lanes
from dsops.core.rollout_state import Counted, Judged, Judgement, Part, Rollout, Stand, Status

STANDS = {
    Stand.WAITS: "waits for its turn",
    Stand.COMES: "brings it in",
    Stand.HAS: "has it",
    Stand.LEAVES: "goes back",
    Stand.LEFT: "went back",
    Stand.STUCK: "stuck",
    Stand.LOST: "lost: counts as failed",
    Stand.OUT: "takes no part",
}
ON, OFF = "■", "□"
# With more nodes than this, those that only wait are counted instead of listed.
MANY = 30
# A p-value from here on is what chance does every day.
LIKELY = 0.05


def render(rollout: Rollout, *, at: float, width: int = 100) -> RenderableType:
    """The whole picture."""
    parts: list[RenderableType] = [
        Text(render_head(rollout, at=at), "bold"),
        Text(render_steps(rollout)),
        render_nodes(rollout, width=width),
        *(Text(line) for line in render_reasons(rollout)),
    ]
    if rollout.trial.judged:
        parts.append(render_gates(rollout))
    return Group(*parts, *(Text(line) for line in render_next(rollout, at=at)))


def render_head(rollout: Rollout, *, at: float) -> str:
    """Which rollout, and how it stands."""
    states = {
        Status.RUNNING: "under way",
        Status.PAUSED: "paused by a person",
        Status.ABORTING: "being taken back",
        Status.ABORTED: "taken back",
        Status.DONE: "done",
    }
    since = render_span(max(0.0, at - rollout.began))
    return f"rollout {rollout.id} of {rollout.release}: {states[rollout.status]}, begun {since} ago by {rollout.who}"


def render_steps(rollout: Rollout) -> str:
    """`1 % . 5 % . [25 %] . 50 % . 100 %`."""
    words = []
    for index, percent in enumerate(rollout.rules.steps):
        is_now = index == rollout.step and not rollout.is_over
        done = "✓" if index < rollout.step or rollout.status is Status.DONE else ""
        words.append(f"[{percent} %]" if is_now else f"{percent} %{done}")
    return f"steps: {'  '.join(words)}   ({rollout.reason})"


def render_nodes(rollout: Rollout, *, width: int) -> Table:
    """One row a node: its lanes, where it stands, and what both releases showed there in this step."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("node", "lanes", "stands"):
        table.add_column(column, no_wrap=column != "stands")
    for column in ("new: requests", "failed", "old: requests", "failed"):
        table.add_column(column, justify="right", no_wrap=True)
    shown, rest = choose_parts(rollout)
    for part in shown:
        table.add_row(*(escape(word) for word in _render_row(part, is_narrow=width < 100)))
    if rest:
        table.add_row(f"{rest} more", "", STANDS[Stand.WAITS], "", "", "", "")
    return table


def choose_parts(rollout: Rollout) -> tuple[tuple[Part, ...], int]:
    """Those that are worth a row, and how many others only wait."""
    if len(rollout.members) <= MANY:
        return rollout.members, 0
    shown = tuple(part for part in rollout.members if part.stand is not Stand.WAITS)
    return shown, len(rollout.members) - len(shown)


def _render_row(part: Part, *, is_narrow: bool) -> list[str]:
    lanes = render_lanes(part.share) if not is_narrow else f"{part.share} %"
    new, old = part.new, part.old
    return [
        part.node,
        lanes,
        render_stand(part),
        _count(new.requests),
        _count(_failures(new), new.requests),
        _count(old.requests),
        _count(_failures(old), old.requests),
    ]


def render_reasons(rollout: Rollout) -> list[str]:
    """Why nodes stand where they do, each reason once; what the whole rollout suffers is said elsewhere."""
    told: dict[str, list[str]] = {}
    for part in rollout.parts:
        if part.reason and part.reason != rollout.failed and f"{part.node}: {part.reason}" not in rollout.hold:
            told.setdefault(part.reason, []).append(part.node)
    return [f"{name_some(nodes)}: {reason}" for reason, nodes in told.items()]


def render_lanes(share: int) -> str:
    """One square a lane: those that lead to the new release are filled."""
    lanes = find_lanes(share) if share else ()
    return f"{''.join(ON if lane in lanes else OFF for lane in LANES)} {share:>3} %"


def render_stand(part: Part) -> str:
    """Where it stands, in words."""
    wants = f" to {part.wants} %" if part.stand is Stand.COMES and part.wants else ""
    drained = ", drained" if part.drained else ""
    is_told = part.is_serving or part.drained or part.stand is Stand.LOST
    serving = "" if is_told else ", serves nothing"
    return f"{STANDS[part.stand]}{wants}{drained}{serving}"


def render_gates(rollout: Rollout) -> Table:
    """What each gate says of this step, and what that means."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("gates", no_wrap=True)
    samples = max(rollout.trial.tested, rollout.trial.passed_at)
    table.add_column(f"because, at {samples:,} samples", overflow="fold")
    table.add_column("which means", overflow="fold")
    for one in rollout.trial.judged:
        table.add_row(one.judgement.upper(), escape(one.says), render_meaning(one))
    return table


def render_meaning(judged: Judged) -> str:
    """What a test with this p says, as a person would."""
    if judged.p is None:
        return "not tested yet"
    if judged.judgement is Judgement.HOLD:
        return "nothing speaks against it so far" if judged.p >= LIKELY else "it looks worse, and may be chance"
    passed = judged.judgement is Judgement.PASS
    return "as good as sure that it is no worse" if passed else "too rare to be chance"


def render_next(rollout: Rollout, *, at: float) -> list[str]:
    """What holds it, what comes next and when at the earliest."""
    if rollout.is_over:
        return [f"It is over: {rollout.failed or rollout.said or rollout.status}."]
    if rollout.status is Status.ABORTING:
        lines = [f"It goes back: {rollout.failed}"]
    else:
        lines = [f"It holds: {rollout.hold}"] if rollout.hold else [rollout.said] if rollout.said else []
    return [*lines, *_render_troubled(rollout), render_coming(rollout), *_render_age(rollout, at=at)]


def _render_troubled(rollout: Rollout) -> list[str]:
    """The way on for a person, where nodes are lost or stuck."""
    troubled = [part.node for part in rollout.parts if part.stand in (Stand.LOST, Stand.STUCK)]
    if not troubled or rollout.status is Status.ABORTING:
        return []
    names = name_some(troubled)
    return [f"Mend {names}; or go on without: `dsops rollout resume`; or take it back: `dsops rollout abort`."]


def render_coming(rollout: Rollout) -> str:
    """The next step, and what is still missing for it."""
    if rollout.status is Status.ABORTING:
        left = [part.node for part in rollout.parts if part.stand in (Stand.HAS, Stand.COMES, Stand.LEAVES)]
        return f"Next: {name_some(left) or 'nobody'} must still go back."
    rules = rollout.rules
    minutes = rules.canary_minutes if rollout.step == 0 else rules.step_minutes
    bakes = minutes * 60 - rollout.baked
    missing = ["`dsops rollout resume`"] if _wants_person(rollout) else []
    missing += [f"{render_span(bakes)} of baking"] if bakes > 0 else []
    short = rules.min_sample - sum(part.new.requests for part in rollout.members)
    missing += [f"{short:,} more requests"] if short > 0 else []
    is_last = rollout.step + 1 >= len(rules.steps)
    aim = "it is done" if is_last else f"{rules.steps[rollout.step + 1]} %"
    words = ", ".join(missing[:-1]) + " and " * (len(missing) > 1) + "".join(missing[-1:])
    return f"Next: {aim}" + (f", not before {words}." if missing else ", as soon as the gates pass.")


def _wants_person(rollout: Rollout) -> bool:
    """Whether it waits for a person's `resume`, however good it looks."""
    is_held = rollout.trial.is_passed and rollout.percent == rollout.rules.hold_at and not rollout.ended
    return rollout.status is Status.PAUSED or is_held


def _render_age(rollout: Rollout, *, at: float) -> list[str]:
    age = at - rollout.seen_at
    if not rollout.seen_at or age < 30:
        return []
    return [f"Nobody has looked for {render_span(age)}."]


def render_controller(holder: Holder | None, rollout: Rollout) -> str:
    """Who runs it now."""
    if rollout.is_over:
        return ""
    if holder and holder.held:
        return f"Run by {describe_holder(holder)}."
    return "No controller runs it: nothing goes further, and each node watches its own. `dsops rollout resume` goes on."


def render_memory(memory: Memory, *, at: float) -> list[str]:
    """The halt, what fell lately, and the fleet's bad list."""
    lines = []
    if memory.halted:
        lines.append(f"THE FLEET IS HALTED: {memory.halted}")
        lines.append("  mend: find out why, then `dsops rollout reset --reason ...`; going back is always possible")
    lines += [
        f"fell within the hour: {fall.release} on {fall.node or 'the fleet'}: {fall.reason}"
        for fall in find_recent(memory, at=at)
    ]
    return lines + [f"no node may take {one.release}: {one.reason}" for one in memory.bad]


def render_log(lines: Sequence[Line]) -> list[str]:
    """The last sentences, with their times."""
    return [f"{render_clock(line.at)}  {line.says}{_by(line)}" for line in lines]


def _by(line: Line) -> str:
    return "" if line.who == "dsops" else f" ({line.who})"


def render_line(rollout: Rollout) -> str:
    """The picture in one line, for what is no terminal."""
    counts = {stand: [part.node for part in rollout.parts if part.stand is stand] for stand in Stand}
    have = ", ".join(f"{part.node} {part.share} %" for part in rollout.members if part.share)
    new = sum(part.new.requests for part in rollout.members)
    failed = sum(_failures(part.new) for part in rollout.members)
    lost = f"; lost: {', '.join(counts[Stand.LOST])}" if counts[Stand.LOST] else ""
    hold = f"; holds: {rollout.hold}" if rollout.hold and not rollout.failed else ""
    hold += f"; goes back: {rollout.failed}" if rollout.failed else ""
    counted = f"{new} requests, {failed} failed"
    return f"{rollout.status} {rollout.percent} %: {have or 'nobody has it'}; {counted}{lost}{hold}"


def render_before(rollout: Rollout) -> str:
    """The releases that it replaces, or replaced."""
    return ", ".join(sorted({part.before for part in rollout.members if part.before}))


def to_data(
    kept: Kept | None, rollout: Rollout | None, memory: Memory, holder: Holder | None, lines: Sequence[Line]
) -> dict[str, Any]:
    """All of it for machines. rollout: null when there never was one."""
    return {
        "rollout": json.loads(rollout.to_json()) if rollout else None,
        "active": bool(kept and kept.ended is None),
        "outcome": kept.outcome if kept else "",
        "controller": asdict(holder) if holder and holder.held else None,
        "fleet": json.loads(memory.to_json()),
        "log": [asdict(line) for line in lines],
    }


def render_past(kept: Kept) -> list[str]:
    """A row of `dsops rollout list`."""
    took = "" if kept.ended is None else render_span(kept.ended - kept.began)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(kept.began))
    return [str(kept.id), when, kept.release, kept.outcome or "active", took, kept.who, kept.reason]


def render_span(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def name_some(names: Sequence[str], most: int = 6) -> str:
    """`gpu1, gpu2 and 8 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def render_clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _failures(counted: Counted) -> int:
    return sum(tally.failed + tally.wrong for tally in (counted.real, counted.synthetic))


def _count(number: int, of: int | None = None) -> str:
    if of is None:
        return f"{number:,}" if number else "-"
    return f"{number:,}" if of else "-"
