"""The bars of an acceptance's page, as SVG: a bar a GPU, its floor as a line, the fleet's median as a dashed one."""

from collections.abc import Sequence
from html import escape

from dsops.core.accept.figures import About, Sense
from dsops.core.accept.judge import Check, Outcome
from dsops.core.accept.measured import NODE

HEIGHT = 15
# More rows than that are too many for one chart.
MANY = 16
# The longest bar ends here, so that a mark at its end is still seen.
FULL = 96.0
# Defined once a page: fills a bar that fails, also where there is no colour.
PATTERN = (
    '<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>'
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse">'
    '<path d="M-1 7 L7 -1 M-1 1 L1 -1 M5 7 L7 5"/></pattern></defs></svg>'
)


def _show(svg: str, words: str) -> str:
    return f'<span><svg width="26" height="12" aria-hidden="true">{svg}</svg> {words}</span>'


LEGEND = (
    '<p class="legend">'
    + _show('<rect class="bar" y="2" width="26" height="8"/>', "passes")
    + _show('<rect class="bar fail" x="1" y="2" width="24" height="8"/>', "fails")
    + _show('<line class="floor" x1="13" x2="13" y1="0" y2="12"/>', "floor, or the most allowed")
    + _show('<line class="median" x1="13" x2="13" y1="0" y2="12"/>', "median of the others in the fleet")
    + "</p>"
)


def render_chart(about: About, rows: Sequence[Check]) -> str:
    """One figure: a row for each GPU or pair."""
    count, rows = len(rows), keep_slowest(rows)
    marks = [one for check in rows for one in (check.value, check.bound, check.median) if one is not None]
    most = max([*marks, 1e-9])
    unit = rows[0].unit
    drawn = "".join(_render_row(check, most=most) for check in rows)
    return (
        f'<div class="chart"><h4>{escape(about.title)}<small>{escape(unit)}</small></h4>{drawn}'
        f'<p class="scale">{escape(_tell_marks(about, rows, of=count))}</p></div>'
    )


def keep_slowest(rows: Sequence[Check]) -> Sequence[Check]:
    """Of very many pairs the slowest one of each GPU; a page is to be looked at."""
    if len(rows) <= MANY:
        return rows
    ordered = sorted(rows, key=lambda check: (check.outcome is not Outcome.FAIL, check.value or 0.0))
    slowest = {check.gpu: check for check in reversed(ordered)}
    return [slowest[gpu] for gpu in sorted(slowest)]


def _render_row(check: Check, *, most: float) -> str:
    value = check.value or 0.0
    is_bad = check.outcome is Outcome.FAIL
    kind = "bar fail" if is_bad else "bar"
    svg = f'<rect class="rail" width="100%" height="{HEIGHT}" rx="2"/>'
    svg += f'<rect class="{kind}" width="{_place(value, most)}" height="{HEIGHT}" rx="2"/>'
    if check.median is not None:
        at = _place(check.median, most)
        svg += f'<line class="median" x1="{at}" x2="{at}" y1="-2" y2="{HEIGHT + 2}"/>'
    if check.bound is not None:
        at = _place(check.bound, most)
        svg += f'<line class="floor" x1="{at}" x2="{at}" y1="-3" y2="{HEIGHT + 3}"/>'
    said = f"<b>{_say(value)}</b>" + (" ✗ FAIL" if is_bad else "")
    label = f"{_name(check)}: {_say(value)} {check.unit}"
    return (
        f'<div class="row{" fail" if is_bad else ""}"><span class="who">{escape(_name(check))}</span>'
        f'<svg width="100%" height="{HEIGHT}" role="img" aria-label="{escape(label)}">{svg}</svg>'
        f'<span class="value">{said}</span></div>'
    )


def _tell_marks(about: About, rows: Sequence[Check], *, of: int) -> str:
    """The floor and the median in figures, and how far the best and the worst are from each other."""
    bounds = sorted({check.bound for check in rows if check.bound is not None})
    medians = [check.median for check in rows if check.median is not None]
    word = "at most" if about.sense is Sense.MOST else "floor"
    said = [f"{word} {_say(bounds[0])}"] if bounds else ["no floor"]
    if medians:
        low, high = _say(min(medians)), _say(max(medians))
        said.append(f"median {low}" if low == high else f"medians {low} to {high}")
    values = [check.value for check in rows if check.value]
    if len(values) > 1:
        said.append(f"spread {100 * (max(values) - min(values)) / max(values):.1f} %")
    if len(rows) < of:
        said.append(f"the slowest pair of each GPU, of {of}")
    return ", ".join(said)


def _place(value: float, most: float) -> str:
    return f"{FULL * max(0.0, value) / most:.2f}%"


def _name(check: Check) -> str:
    if check.gpu == NODE:
        return "node"
    return f"GPU {check.gpu}" + ("" if check.peer == NODE else f" ← {check.peer}")


def _say(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.1f}"
