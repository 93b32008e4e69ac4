"""Two releases side by side: what requests to them came to, what their passports say, and whether they differ. Pure.

Times are compared node by node, where both were asked (Mann and Whitney's U over strata), shares by Fisher's exact
test; it is one look, so the error is only shared between the tests. It decides nothing: a rollout has its own gates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

from dsops.core.passport import Hardware, Passport, find_fitting
from dsops.core.samples import NOTHING, PER_TOKEN_BOUNDS, TTFT_BOUNDS, ReleaseTally, Samples, Tally, add
from dsops.core.stats import compare_shares, find_chance, rank

# How likely a table tells a difference where there is none, and how many tests it makes: seven figures, each way.
ERROR, TESTS = 0.05, 14
FEWEST = 25
NONE = "-"


@dataclass(frozen=True)
class Side:
    """One of the two. counted: node -> what its requests came to there."""

    release: str
    counted: Mapping[str, ReleaseTally] = field(default_factory=dict)
    passports: tuple[Passport, ...] = ()

    def sum_up(self, kind: str) -> Tally:
        """`real` or `synthetic` requests of all nodes."""
        return reduce(add, (_get(one, kind) for one in self.counted.values()), NOTHING)


@dataclass(frozen=True)
class Row:
    """One figure of both. says: which of them is worse in it, or why nothing is said."""

    name: str
    a: str
    b: str
    says: str = ""


@dataclass(frozen=True)
class Times:
    """A kind of time that requests take, as histograms hold it."""

    name: str
    bounds: Sequence[float]
    read: Callable[[Tally], Sequence[int]]


TIMES = (
    Times("to the first token", TTFT_BOUNDS, lambda tally: tally.ttft),
    Times("per token", PER_TOKEN_BOUNDS, lambda tally: tally.per_token),
)


def make_side(release: str, samples: Sequence[Samples], passports: Sequence[Passport] = ()) -> Side:
    """From what the nodes counted."""
    counted = {one.node: found for one in samples if (found := one.find(release)) is not None}
    return Side(release, counted, tuple(passports))


def compare(a: Side, b: Side) -> tuple[Row, ...]:
    """All figures, those of the traffic first."""
    rows = [Row("nodes that counted", str(len(a.counted)), str(len(b.counted)))]
    rows += _compare_kind(a, b, "real", "clients' requests")
    rows += _compare_kind(a, b, "synthetic", "golden requests")
    for hardware in _find_hardware(a, b):
        rows += _compare_passports(hardware, find_fitting(a.passports, hardware), find_fitting(b.passports, hardware))
    return tuple(rows)


def find_quantile(buckets: Sequence[int], bounds: Sequence[float], *, share: float) -> float | None:
    """The value below which so many lie, evenly spread within a bucket; None without any, infinite past the last."""
    total, below = sum(buckets), 0.0
    if not total:
        return None
    edges = [0.0, *bounds, float("inf")]
    for low, high, count in zip(edges, edges[1:], buckets, strict=True):
        if count and below + count >= share * total:
            return high if high == float("inf") else low + (high - low) * (share * total - below) / count
        below += count
    return float("inf")


def _get(one: ReleaseTally, kind: str) -> Tally:
    return one.real if kind == "real" else one.synthetic


def _compare_kind(a: Side, b: Side, kind: str, name: str) -> list[Row]:
    mine, theirs = a.sum_up(kind), b.sum_up(kind)
    rows = [Row(name, f"{mine.requests:,}", f"{theirs.requests:,}")]
    if not mine.requests and not theirs.requests:
        return rows
    rows.append(_compare_share("  failed", mine, theirs, lambda tally: tally.failed))
    if kind == "synthetic":
        rows.append(_compare_share("  wrong answers", mine, theirs, lambda tally: tally.wrong))
    for times in TIMES:
        says = _judge_times(a, b, kind, times)
        for share in (0.5, 0.95):
            first, second = (
                render_seconds(find_quantile(times.read(one), times.bounds, share=share)) for one in (mine, theirs)
            )
            rows.append(Row(f"  {times.name}, {share:.0%}", first, second, says if share == 0.5 else ""))
    return rows


def render_seconds(seconds: float | None) -> str:
    """A time as short as one can read it."""
    if seconds is None:
        return NONE
    if seconds == float("inf"):
        return "off the scale"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _compare_share(name: str, mine: Tally, theirs: Tally, count: Callable[[Tally], int]) -> Row:
    a, b = count(mine), count(theirs)
    says = _judge(
        min(mine.requests, theirs.requests),
        compare_shares(a, mine.requests, b, theirs.requests),
        compare_shares(b, theirs.requests, a, mine.requests),
    )
    return Row(name, _render_share(a, mine.requests), _render_share(b, theirs.requests), says)


def _render_share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.2%})" if total else NONE


def _judge_times(a: Side, b: Side, kind: str, times: Times) -> str:
    """Only where one node served both: nodes differ more than releases do."""
    pairs = [
        (times.read(_get(a.counted[node], kind)), times.read(_get(b.counted[node], kind)))
        for node in a.counted.keys() & b.counted.keys()
    ]
    both = [(mine, theirs) for mine, theirs in pairs if sum(mine) and sum(theirs)]
    if not both:
        return "not compared: no node served both"
    least = min(sum(sum(mine) for mine, _ in both), sum(sum(theirs) for _, theirs in both))
    a_worse, b_worse = (
        find_chance([rank(mine, theirs) for mine, theirs in both]),
        find_chance([rank(theirs, mine) for mine, theirs in both]),
    )
    return _judge(least, a_worse, b_worse)


def _judge(least: int, a_worse: float, b_worse: float) -> str:
    """From how likely such figures are when A, or B, is no worse than the other."""
    if least < FEWEST:
        return f"too few: {least} of {FEWEST}"
    for name, chance in (("A", a_worse), ("B", b_worse)):
        if chance < ERROR / TESTS:
            return f"{name} is worse (by chance: {render_chance(chance)})"
    return "no difference seen"


def render_chance(chance: float) -> str:
    """`1 in 2,000`, never more than a million."""
    return "less than 1 in a million" if chance < 1e-6 else f"1 in {round(1 / chance):,}"


def _find_hardware(a: Side, b: Side) -> list[Hardware]:
    """Each kind once, in which either has a passport."""
    found: list[Hardware] = []
    for passport in (*a.passports, *b.passports):
        if not any(one.fits(passport.hardware) for one in found):
            found.append(passport.hardware)
    return found


def _compare_passports(hardware: Hardware, a: Passport | None, b: Passport | None) -> list[Row]:
    def tell(read: Callable[[Passport], str]) -> tuple[str, str]:
        return (read(a) if a else NONE, read(b) if b else NONE)

    missing = [name for name, one in (("A", a), ("B", b)) if one is None]
    return [
        Row(
            f"passport, {hardware.says}",
            *tell(lambda one: f"{len(one.runs)} runs"),
            f"{' and '.join(missing)} has none" if missing else "",
        ),
        Row("  answers right", *tell(lambda one: f"{one.accepted} of {one.prompts}")),
        Row("  tokens/s, median", *tell(lambda one: _render_number(one.rate)), _compare_rates(a, b)),
        Row("  tokens/s, least", *tell(lambda one: _render_number(min(one.rates, default=None)))),
        Row("  load from the disk", *tell(lambda one: render_seconds(one.cold_load))),
        Row("  load from page cache", *tell(lambda one: render_seconds(one.warm_load))),
    ]


def _compare_rates(a: Passport | None, b: Passport | None) -> str:
    """Few runs are no sample: only the ratio is told."""
    return f"B has {b.rate / a.rate:.0%} of A's" if a and b and a.rate and b.rate else ""


def _render_number(number: float | None) -> str:
    return NONE if number is None else f"{number:,.0f}"
