"""Two releases side by side: the figures, and what is said of their difference, or not."""

from typing import Any

import pytest
from dsops.core.compare import Row, Side, compare, find_quantile, make_side, render_chance, render_seconds
from dsops.core.samples import PER_TOKEN_BOUNDS, TTFT_BOUNDS, ReleaseTally, Samples, Tally

from tests.core.passports import CPU, H100, make


def buckets(bounds: tuple[float, ...], **counts: int) -> tuple[int, ...]:
    """at_3=5: five in the fourth bucket."""
    return tuple(counts.get(f"at_{place}", 0) for place in range(len(bounds) + 1))


def tally(requests: int, *, failed: int = 0, wrong: int = 0, slow: int = 0) -> Tally:
    """slow: how many are two buckets later than the others."""
    quick = requests - slow
    return Tally(
        requests,
        failed,
        wrong,
        buckets(TTFT_BOUNDS, at_4=quick, at_6=slow),
        buckets(PER_TOKEN_BOUNDS, at_3=quick, at_5=slow),
    )


def side(name: str, **nodes: Tally) -> Side:
    samples = [Samples(node, 1.0, (ReleaseTally(name, real=one),)) for node, one in nodes.items()]
    return make_side(name, samples)


def rows_of(a: Side, b: Side) -> dict[str, Row]:
    """By name; where two have one, that of clients' requests."""
    return {row.name.strip(): row for row in reversed(compare(a, b))}


def test_equal_ones_are_shown_without_a_difference() -> None:
    rows = rows_of(side("r1", gpu1=tally(1000), gpu2=tally(500)), side("r2", gpu1=tally(100), gpu2=tally(50)))
    assert (rows["nodes that counted"].a, rows["clients' requests"].a, rows["clients' requests"].b) == (
        "2",
        "1,500",
        "150",
    )
    assert rows["failed"] == Row("  failed", "0 (0.00%)", "0 (0.00%)", "no difference seen")
    assert rows["to the first token, 50%"].says == "no difference seen"
    assert rows["to the first token, 50%"].a == rows["to the first token, 50%"].b == "75 ms"


def test_one_that_fails_more_or_is_slower_is_named() -> None:
    good, bad = side("r1", gpu1=tally(1000, failed=1)), side("r2", gpu1=tally(200, failed=20, slow=150))
    rows = rows_of(good, bad)
    assert rows["failed"].b == "20 (10.00%)"
    assert rows["failed"].says.startswith("B is worse (by chance: ")
    assert rows["per token, 50%"].says.startswith("B is worse")
    mirrored = rows_of(bad, good)
    assert mirrored["failed"].says.startswith("A is worse")


def test_few_requests_and_nodes_that_served_only_one_say_nothing() -> None:
    rows = rows_of(side("r1", gpu1=tally(1000)), side("r2", gpu1=tally(20, failed=20)))
    assert rows["failed"].says == "too few: 20 of 25"
    apart = rows_of(side("r1", gpu1=tally(1000)), side("r2", gpu2=tally(1000, slow=900)))
    assert apart["to the first token, 50%"].says == "not compared: no node served both"


def test_golden_requests_have_wrong_answers_too() -> None:
    samples = [
        Samples("gpu1", 1.0, (ReleaseTally("r1", synthetic=tally(400)), ReleaseTally("r2", synthetic=tally(400)))),
    ]
    told = compare(make_side("r1", samples), make_side("r2", samples))
    assert [row.name for row in told].count("  wrong answers") == 1
    assert Row("clients' requests", "0", "0") in told


def test_passports_of_one_kind_of_hardware_stand_in_one_row() -> None:
    a = Side("r1", passports=(make(release="r1"), make(release="r1", hardware=CPU)))
    b = Side("r2", passports=(make(release="r2", hardware=H100),))
    told = compare(a, b)
    assert Row("passport, 8 x NVIDIA H100", "3 runs", "3 runs") in told
    assert Row("passport, Xeon, 2 cores", "3 runs", "-", "B has none") in told
    assert Row("  tokens/s, median", "800", "800", "B has 100% of A's") in told
    assert Row("  load from the disk", "40 s", "40 s") in told
    assert Row("  answers right", "8 of 8", "-") in told


def test_nothing_known_of_either_is_a_table_of_nothing() -> None:
    assert compare(Side("r1"), Side("r2"))[:2] == (
        Row("nodes that counted", "0", "0"),
        Row("clients' requests", "0", "0"),
    )


@pytest.mark.parametrize(
    ("counts", "share", "seconds"),
    [
        ((), 0.5, None),
        ((0, 0, 0), 0.5, None),
        ((0, 4, 0), 0.5, 1.5),
        ((4, 0, 4), 0.5, 1.0),
        ((0, 0, 1), 0.5, float("inf")),
    ],
)
def test_a_quantile_lies_within_its_bucket(counts: tuple[int, ...], share: float, seconds: Any) -> None:
    assert find_quantile(counts, (1.0, 2.0), share=share) == seconds


def test_numbers_are_short() -> None:
    assert [render_seconds(one) for one in (None, 0.0123456, 3.14159, float("inf"))] == [
        "-",
        "12.3 ms",
        "3.14 s",
        "off the scale",
    ]
    assert (render_chance(0.002), render_chance(0.0)) == ("1 in 500", "less than 1 in a million")
