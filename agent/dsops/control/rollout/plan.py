"""What a rollout will do, and what it costs on each node, said before anything changes. Pure."""

from dataclasses import asdict, dataclass

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dsops.control.rollout.costs import Place
from dsops.control.rollout.preflight import Situation, find_absent
from dsops.control.rollout.view import name_some, render_span
from dsops.core.rollout_state import Rollout
from dsops.core.spread import plan_step

NO_MONITORING = "This site has no monitoring: no alert will hold the rollout."
MANY = 30


@dataclass(frozen=True)
class Course:
    """The rollout as it would begin, what it costs on each node, and what else is to be known."""

    situation: Situation
    rollout: Rollout
    places: tuple[Place, ...]
    has_alerts: bool = True
    wants_alerts: bool = True

    @property
    def first(self) -> str:
        """The first node to get it."""
        return self.rollout.parts[0].node


def render_course(course: Course) -> RenderableType:
    """A table with a row for each node, and below it the steps in words."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("node", "serves", "comes in", "meanwhile"):
        table.add_column(column, no_wrap=column in ("node", "serves"), overflow="fold")
    for column in ("safe after", "whole after", "back in"):
        table.add_column(column, justify="right", no_wrap=True)
    places = {place.node: place for place in course.places}
    parts = course.rollout.members
    for part in parts[:MANY]:
        words = (part.node, part.before or "-", *_render_place(places.get(part.node)))
        table.add_row(*(escape(word) for word in words))
    if len(parts) > MANY:
        table.add_row(f"{len(parts) - MANY} more", "", "", "", "", "", "")
    return Group(table, Text("\n".join(render_words(course))))


def render_words(course: Course) -> list[str]:
    """What the columns mean, the steps, and what is missing."""
    rollout, rules = course.rollout, course.rollout.rules
    lines = [
        "safe after: until a release that fails has no traffic there any more; whole after: until the node has all its",
        "capacity again; back in: how long the way back takes. Nothing is copied.",
        *render_steps(rollout),
        f"The first step is watched for {render_span(60 * rules.canary_minutes)}, each later one for "
        f"{render_span(60 * rules.step_minutes)}, and until {rules.min_sample} requests went to {rollout.release}.",
    ]
    if rules.hold_at:
        lines.append(f"It stays at {rules.hold_at} % until somebody says `dsops rollout resume`.")
    if not course.has_alerts:
        lines.append(NO_MONITORING)
    elif not course.wants_alerts:
        lines.append("Alerts are not looked at, as you asked.")
    absent = [known.name for known in find_absent(course.situation)]
    lines += [f"Do not answer now: {', '.join(absent)}."] if absent else []
    return lines


def render_steps(rollout: Rollout) -> list[str]:
    """`1 %: gpu1 with 1 % of its requests`."""
    parts, lines = rollout.members, []
    for index, percent in enumerate(rollout.rules.steps):
        nodes, share = plan_step(percent, len(parts), is_first=index == 0)
        names = name_some([part.node for part in parts[:nodes]])
        whole = any(part.alone or not part.before for part in parts[:nodes])
        all_at_once = ", or with all where two copies do not fit or nothing serves" if whole and share < 100 else ""
        lines.append(
            f"{percent:>3} %: {names} with {share} % of {'its' if nodes == 1 else 'their'} requests{all_at_once}"
        )
    return lines


def to_data(course: Course) -> dict[str, object]:
    """The same for machines."""
    rollout = course.rollout
    steps = [plan_step(p, len(rollout.members), is_first=i == 0) for i, p in enumerate(rollout.rules.steps)]
    return {
        "release": rollout.release,
        "rules": asdict(rollout.rules),
        "nodes": [asdict(place) for place in course.places],
        "order": [part.node for part in rollout.members],
        "steps": [
            {"percent": percent, "nodes": nodes, "share": share}
            for percent, (nodes, share) in zip(rollout.rules.steps, steps, strict=True)
        ],
        "alerts": course.has_alerts and course.wants_alerts,
        "absent": [known.name for known in find_absent(course.situation)],
    }


def _render_place(place: Place | None) -> tuple[str, str, str, str, str]:
    if place is None:
        return "when it answers again", "", "?", "?", "?"
    cost = place.cost
    if cost is None:
        return f"{place.says} ({'; '.join(place.why)})", "?", "?", "?", "?"
    lost = f"{cost.capacity:.0%} of its pool is out for {render_span(cost.lost_seconds)}"
    spans = (render_span(seconds) for seconds in (cost.safe_seconds, cost.full_seconds, cost.back_seconds))
    safe, full, back = spans
    return place.says, lost if cost.lost_seconds else "no capacity is lost", safe, full, back
