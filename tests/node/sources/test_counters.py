"""Counters are looked at by how much they grew; what nobody could read has not grown by nothing."""

import pytest
from dsops.node.sources.counters import KEEP_SECONDS, Counters
from dsops.node.sources.unread import Unread

BROKEN, GONE = Unread("I/O error"), Unread("no such file", is_missing=True)


def run(*values: int | Unread, every: float = 60.0) -> Counters:
    counters = Counters()
    for number, value in enumerate(values):
        counters = counters.add(1000 + number * every, {"x": value})
    return counters


@pytest.mark.parametrize(
    ("values", "within", "grown"),
    [
        ((5,), 600, None),
        ((5, 5), 600, 0),
        ((5, 8, 9), 600, 4),
        ((5, 8, 9), 60, 1),
        ((5, 8, 9), 10, None),
        # The driver was loaded again: it begins at 0.
        ((100, 3), 600, 3),
        ((100, 3, 5), 600, 5),
        ((5, BROKEN), 600, BROKEN),
        ((5, BROKEN, 9), 600, 4),
        ((5, GONE), 600, None),
    ],
)
def test_how_much_it_grew(values: tuple[int | Unread, ...], within: float, grown: int | Unread | None) -> None:
    assert run(*values).grown("x", within) == grown


def test_what_is_gone_is_no_counter_and_what_is_broken_is_one() -> None:
    assert run(5, BROKEN).list_names("x") == ["x"]
    assert run(5, GONE).list_names("x") == []
    assert run(5).grown("y", 60) is None


def test_how_fast_it_grows() -> None:
    assert run(0, 60, 120).rate("x", 600) == 1.0
    assert run(0, 60, 180).rate("x", 60) == 2.0
    assert run(0).rate("x", 600) is None
    assert run(0, BROKEN).rate("x", 600) == BROKEN


def test_half_an_hour_is_kept_and_no_more_of_it_than_is_needed() -> None:
    counters = run(*range(2000), every=1.0)
    assert counters.samples[-1][0] - counters.samples[0][0] <= KEEP_SECONDS
    assert len(counters.samples) < 130
    assert counters.grown("x", 600) == pytest.approx(600, abs=16)
    assert counters.grown("x", 20) == pytest.approx(20, abs=16)
