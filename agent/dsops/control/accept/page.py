"""The page of an acceptance: one HTML file without anything from elsewhere, for a person and for a printer."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from dsops.control.accept.bars import LEGEND, PATTERN, render_chart
from dsops.core.accept.certificate import Certificate
from dsops.core.accept.figures import ALL
from dsops.core.accept.judge import SHARE, Check, Outcome, Verdict
from dsops.core.accept.measured import NODE

STYLE = Path(__file__).with_name("page.css")
WORDS = {Verdict.PASS: "accepted", Verdict.FAIL: "not accepted", Verdict.INCOMPLETE: "incomplete"}
SIGNS = {
    Outcome.PASS: ("ok", "✓"),
    Outcome.FAIL: ("bad", "✗ FAIL"),
    Outcome.SKIPPED: ("none", "– skipped"),
    Outcome.UNKNOWN: ("ask", "? unknown"),
}
Local = Callable[[float], str]


def render_page(made: Sequence[Certificate], *, title: str, local: Local) -> str:
    """The whole file. title: whose nodes they are. local: a time in the reader's own words."""
    body = "\n".join(_render_node(one, local=local) for one in made)
    passed = sum(one.verdict is Verdict.PASS for one in made)
    gpus = sum(len(one.measured.gpus) for one in made)
    lead = f"{passed} of {len(made)} {'node' if len(made) == 1 else 'nodes'} accepted, {gpus} GPUs measured"
    when = local(max((one.made_at for one in made), default=0.0))
    overview = _render_overview(made) if len(made) > 1 else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Acceptance of {escape(title)}</title>
<style>
{STYLE.read_text()}</style>
</head>
<body>
{PATTERN}
<main>
<header class="top">
<p class="kicker">dsops accept</p>
<h1>Acceptance of {escape(title)}</h1>
<p class="lead">{escape(lead)} &middot; {escape(when)}</p>
</header>
{overview}
{body}
<footer>
<p>A figure passes when it reaches its floor and {SHARE:.0%} of the median of the other GPUs of its kind in the
fleet. What could not be read is unknown and never passes. The certificate is the signed JSON file; this page only shows
it. How to read it, and what to do about each figure: docs/accept.md.</p>
</footer>
</main>
</body>
</html>
"""


def _render_overview(made: Sequence[Certificate]) -> str:
    rows = []
    for one in made:
        first = next(iter((*one.failed, *one.missing)), None)
        why = f"{_name_place(first)}{first.title}: {first.reason}" if first else ""
        sign = {"pass": "ok", "fail": "bad", "incomplete": "ask"}[one.verdict]
        rows.append(
            f'<tr><td><a href="#{escape(one.node)}">{escape(one.node)}</a></td>'
            f'<td class="{sign}">{escape(_say_verdict(one))}</td>'
            f"<td>{escape(_say_gpus(one))}</td><td>{escape(why)}</td></tr>"
        )
    head = "<tr><th>node</th><th>verdict</th><th>GPUs</th><th>what came first</th></tr>"
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>'


def _render_node(one: Certificate, *, local: Local) -> str:
    looks = [check for check in one.checks if check.is_look]
    parts = [
        _render_head(one, local=local),
        _render_trouble(one),
        _render_charts(one),
        _render_matrix(one, looks, "Does it compute and remember what it should?"),
        _render_matrix(one, _find_counters(one), "Counters and links"),
        _render_gpus(one),
        _render_gaps(one),
        _render_sources(one),
    ]
    return f'<section class="node" id="{escape(one.node)}">\n' + "\n".join(filter(None, parts)) + "\n</section>"


def _render_head(one: Certificate, *, local: Local) -> str:
    facts = {
        "GPUs": _say_gpus(one),
        "measured": f"{local(one.made_at)}, in {one.measured.seconds:.0f} s, by {one.who}",
        "driver, kernel": f"{one.measured.driver or 'none'}, Linux {one.measured.kernel}",
        "PyTorch, dsops": f"{one.measured.torch or 'not used'}, {one.measured.dsops}",
        "machine": f"{one.measured.machine[:12]}…",
    }
    told = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in facts.items())
    forced = ""
    if one.forced:
        why = escape(f"It counts all the same, because: {one.forced}")
        forced = f'<div class="box incomplete"><b>Forced.</b><p>{why}</p></div>'
    return (
        f'<div class="head"><h2>{escape(one.node)}</h2>'
        f'<div class="stamp {one.verdict}">{escape(WORDS[one.verdict])}</div></div>\n'
        f'<dl class="facts">{told}</dl>{forced}'
    )


def _render_trouble(one: Certificate) -> str:
    """What failed, the weightiest first, and what to do; else what is missing."""
    if one.failed:
        return _render_box("fail", f"What failed ({len(one.failed)}), the weightiest first", one.failed)
    if one.missing:
        return _render_box("incomplete", f"What is missing ({len(one.missing)})", one.missing)
    return ""


def _render_box(kind: str, title: str, checks: Sequence[Check]) -> str:
    most = 12
    items = []
    for check in checks[:most]:
        mend = f'<br><span class="mend">Do: {escape(check.mend)}</span>' if check.mend else ""
        items.append(f"<li><b>{escape(_name_place(check) + check.title)}</b>: {escape(check.reason)}{mend}</li>")
    if len(checks) > most:
        items.append(f"<li>and {len(checks) - most} more, below</li>")
    return f'<div class="box {kind}"><b>{escape(title)}</b><ol>{"".join(items)}</ol></div>'


def _render_charts(one: Certificate) -> str:
    """A chart for each figure that is a rate, a share or a heat: one bar a GPU, or one for each pair."""
    charts = []
    for about in ALL:
        rows = [check for check in one.checks if check.name == about.name and not check.is_look]
        rows = [check for check in rows if check.value is not None]
        if rows and about.unit and about.name != "slowdown":
            charts.append(render_chart(about, rows))
    if not charts:
        return ""
    return f'<h3>How fast</h3>{LEGEND}<div class="charts">{"".join(charts)}</div>'


def _find_counters(one: Certificate) -> list[Check]:
    names = {about.name for about in ALL if not about.is_look and (not about.unit or about.name == "slowdown")}
    return [check for check in one.checks if check.name in names and not check.is_look]


def _render_matrix(one: Certificate, checks: Sequence[Check], title: str) -> str:
    """A row for each thing, a column for each GPU; what is of the whole node stands in the first."""
    if not checks:
        return ""
    gpus = [gpu.index for gpu in one.measured.gpus]
    rows = []
    for name in dict.fromkeys(check.name for check in checks):
        mine = [check for check in checks if check.name == name]
        whole = next((check for check in mine if check.gpu == NODE), None)
        if whole:
            cells = f'<td class="cell" colspan="{max(1, len(gpus))}">{_render_cell(whole)}</td>'
        else:
            by_gpu = {check.gpu: check for check in mine}
            cells = "".join(f'<td class="cell">{_render_cell(by_gpu.get(index))}</td>' for index in gpus)
        says = next((check.reason for check in mine if check.is_look and check.outcome is Outcome.PASS), "")
        rows.append(f'<tr><td>{escape(mine[0].title)}</td>{cells}<td class="none">{escape(says)}</td></tr>')
    heads = "".join(f"<th>GPU {index}</th>" for index in gpus) or "<th>node</th>"
    table = f"<table><tr><th></th>{heads}<th></th></tr>{''.join(rows)}</table>"
    return f'<h3>{escape(title)}</h3><div class="wide">{table}</div>'


def _render_cell(check: Check | None) -> str:
    if check is None:
        return ""
    kind, sign = SIGNS[check.outcome]
    if check.value is not None:
        sign = f"{sign} {check.value:,.4g} {check.unit}".rstrip()
    return f'<span class="{kind}">{escape(sign)}</span>'


def _render_gpus(one: Certificate) -> str:
    if not one.measured.gpus:
        return ""
    rows = "".join(
        f"<tr><td>{gpu.index}</td><td>{escape(gpu.name)}</td><td>{gpu.memory_bytes / (1 << 30):.1f} GiB</td>"
        f"<td><code>{escape(gpu.uuid)}</code></td><td><code>{escape(gpu.serial or 'not told')}</code></td></tr>"
        for gpu in one.measured.gpus
    )
    head = "<tr><th>GPU</th><th>model</th><th>memory</th><th>UUID</th><th>serial</th></tr>"
    return f'<h3>The GPUs</h3><div class="wide"><table>{head}{rows}</table></div>'


def _render_gaps(one: Certificate) -> str:
    """What was not measured, grouped by the reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for check in one.checks:
        if check.outcome in (Outcome.SKIPPED, Outcome.UNKNOWN):
            names = reasons.setdefault((check.outcome.value, check.reason), [])
            names += [check.title] if check.title not in names else []
    if not reasons:
        return ""
    rows = "".join(
        f"<tr><td>{escape(kind)}</td><td>{escape(why)}</td><td>{escape(', '.join(names))}</td></tr>"
        for (kind, why), names in reasons.items()
    )
    head = "<tr><th></th><th>why</th><th>what</th></tr>"
    return f'<h3>What was not measured</h3><div class="wide"><table>{head}{rows}</table></div>'


def _render_sources(one: Certificate) -> str:
    lines = []
    for source in one.sources:
        said = f"floors of {source.floors} ({source.source}; {source.date})" if source.floors else "no floors are known"
        lines.append(f"{escape(source.gpu)}: {escape(said)}")
    return f'<p class="scale" style="margin-left:0;margin-top:22px">{"<br>".join(lines)}</p>' if lines else ""


def _say_gpus(one: Certificate) -> str:
    names = [gpu.name for gpu in one.measured.gpus]
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names)) or "none"


def _say_verdict(one: Certificate) -> str:
    return WORDS[one.verdict] + (" (forced)" if one.forced else "")


def _name_place(check: Check) -> str:
    return "" if check.gpu == NODE else f"GPU {check.gpu}, "
