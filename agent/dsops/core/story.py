"""A decision as a short story: what was seen when, what it excludes, what was done, what comes next."""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from dsops.core.status import Blame


@dataclass(frozen=True)
class Moment:
    """One line of the story. at: Unix seconds. kind: onset, look, eject, verdict, restart, rollback, admit, done ..."""

    at: float
    kind: str
    says: str


@dataclass(frozen=True)
class Decision:
    """One episode from the first BAD to its end, or to now. began: Unix seconds. action: of core.remedy.

    outcome: how it ended, "" while it goes on. requests_failed: clients' requests from onset to the end.
    """

    node: str
    release: str
    began: float
    moments: tuple[Moment, ...]
    blame: Blame
    blame_says: str
    excludes: tuple[str, ...]
    action: str
    outcome: str
    next_step: str
    requests_failed: int | None = None
    ended: float | None = None

    def to_data(self) -> dict[str, object]:
        """Plain data for JSON; `core.decode.decode(Decision, data, where=...)` reads it."""
        return dataclasses.asdict(self)


def render_story(decision: Decision, *, now: float, zone: tzinfo | None = None) -> list[str]:
    """Lines for a person. zone None: the local one of whoever reads."""
    began = datetime.fromtimestamp(decision.began, UTC).astimezone(zone)
    ago = _render_span(max(0.0, now - decision.began))
    lines = [f"{decision.node}: {decision.outcome or 'not over yet'} ({began:%Y-%m-%d %H:%M:%S}, {ago} ago)"]
    lines.append(f"  release  {decision.release or 'none'}")
    lines += [f"  {_render_offset(m.at - decision.began):>9}  {m.kind:<8} {m.says}".rstrip() for m in decision.moments]
    lines.append(f"  blame    {decision.blame}: {decision.blame_says}")
    lines += [f"           not {one}" for one in decision.excludes]
    lines.append(f"  done     {decision.action}")
    if decision.requests_failed is not None:
        lines.append(f"  lost     {decision.requests_failed} requests of clients failed")
    if decision.next_step:
        lines.append(f"  next     {decision.next_step}")
    return lines


def _render_offset(seconds: float) -> str:
    sign = "+" if seconds >= 0 else "-"
    seconds = abs(seconds)
    return f"{sign}{seconds:.1f} s" if seconds < 100 else f"{sign}{_render_span(seconds)}"


def _render_span(seconds: float) -> str:
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
