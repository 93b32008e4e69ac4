"""Samples as they go over the wire, and what came between two looks."""

from dataclasses import replace

import pytest
from dsops.core.errors import DsopsError
from dsops.core.samples import (
    NOTHING,
    PER_TOKEN_BOUNDS,
    TTFT_BOUNDS,
    ReleaseTally,
    Samples,
    Tally,
    add,
    add_release,
    subtract,
    subtract_release,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = (len(TTFT_BOUNDS) + 1, len(PER_TOKEN_BOUNDS) + 1)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    failed, wrong, good = (draw(st.integers(0, 50)) for _ in range(3))
    ttft, per_token = (draw(st.just(()) | st.tuples(*[st.integers(0, 9)] * size)) for size in SIZES)
    sums = [float(draw(st.integers(0, 100))) for _ in range(2)]
    return Tally(failed + wrong + good, failed, wrong, ttft, per_token, *sums)


def find_values(tally: Tally) -> tuple[float, ...]:
    """All that is counted, with nothing as zeros."""
    ttft, per_token = tally.ttft or (0,) * SIZES[0], tally.per_token or (0,) * SIZES[1]
    sums = (tally.ttft_seconds, tally.per_token_seconds)
    return (tally.requests, tally.failed, tally.wrong, *ttft, *per_token, *sums)


@settings(max_examples=60)
@given(one=tallies(), other=tallies())
def test_what_came_since_is_what_was_added(one: Tally, other: Tally) -> None:
    assert find_values(subtract(add(one, other), one)) == find_values(other)
    assert find_values(add(one, other)) == find_values(add(other, one))
    assert add(one, NOTHING) == one == add(NOTHING, one)


@settings(max_examples=60)
@given(one=tallies(), other=tallies())
def test_nothing_ever_comes_out_negative(one: Tally, other: Tally) -> None:
    assert min(find_values(subtract(one, other))[:-2]) >= 0


def test_a_counter_that_began_anew_counts_from_zero() -> None:
    before, now = Tally(requests=900, failed=3), Tally(requests=5, failed=1)
    assert subtract(now, before) == now
    # As many again since its start, and yet another life.
    old, new = ReleaseTally("r1", real=before, lives="boot 1"), ReleaseTally("r1", real=before, lives="boot 2")
    assert subtract_release(new, old).real == before
    assert subtract_release(replace(new, lives="boot 1"), old).real == Tally()
    assert subtract_release(new, None) == new
    assert add_release(old, new).real.requests == 1800


def test_samples_survive_the_wire() -> None:
    tally = Tally(7, 1, 2, (1,) * SIZES[0], (2,) * SIZES[1], 1.5, 0.25)
    samples = Samples("gpu1", 12.5, (ReleaseTally("r1", tally, Tally(), "a"), ReleaseTally("r2")))
    assert Samples.from_json(samples.to_json(), where="gpu1") == samples
    assert samples.find("r2") == ReleaseTally("r2")
    assert samples.find("r3") is None


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (Tally(requests=-1), "cannot be"),
        (Tally(requests=2, failed=2, wrong=1), "cannot be"),
        (Tally(requests=2, ttft=(1, 2)), "ttft has 2 buckets, not 19"),
        (Tally(requests=2, per_token=(1,)), "per_token has 1 buckets, not 17"),
    ],
)
def test_what_cannot_be_is_refused_with_node_and_release(tally: Tally, words: str) -> None:
    text = Samples("gpu1", 0.0, (ReleaseTally("r1", synthetic=tally),)).to_json()
    with pytest.raises(DsopsError, match=words) as caught:
        Samples.from_json(text, where="gpu1")
    assert caught.value.where == "gpu1: r1"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"node": "a", "at": 1, "releases": [{}]}'])
def test_what_is_no_samples_is_refused(text: str) -> None:
    with pytest.raises(DsopsError) as caught:
        Samples.from_json(text, where="gpu1")
    assert caught.value.where.startswith("gpu1")
