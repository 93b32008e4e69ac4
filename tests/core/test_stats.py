"""The tests of the gates against tables, against brute force, and what looking again and again costs."""

import itertools
import math
import random

import pytest
from dsops.core.stats import (
    FIRST_TEST,
    compare_shares,
    find_at_least,
    find_at_most,
    find_chance,
    find_effect,
    find_lower,
    find_pass_spending,
    find_spending,
    rank,
    want_test,
)
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("table", "p"),
    [
        ((3, 4, 1, 4), 17 / 70),  # Fisher's lady tasting tea, three of four cups
        ((4, 4, 0, 4), 1 / 70),
        ((10, 12, 3, 18), 0.0004651809),  # Fisher's convicts who are twins (1935); R: fisher.test
        ((11, 14, 1, 10), 0.001379728),  # men and women who study (Wikipedia, Fisher's exact test)
        ((0, 800, 0, 800), 1.0),
        ((3, 800, 0, 18000), (800 * 799 * 798) / (18800 * 18799 * 18798)),
    ],
)
def test_fishers_test_gives_what_the_books_say(table: tuple[int, int, int, int], p: float) -> None:
    assert compare_shares(*table) == pytest.approx(p, rel=1e-6)


@settings(max_examples=150)
@given(new=st.integers(0, 12), old=st.integers(0, 12), data=st.data())
def test_fishers_test_is_what_counting_all_tables_gives(new: int, old: int, data: st.DataObject) -> None:
    new_bad, old_bad = data.draw(st.integers(0, new)), data.draw(st.integers(0, old))
    bad = new_bad + old_bad
    tables = {x: math.comb(bad, x) * math.comb(new + old - bad, new - x) for x in range(bad + 1) if x <= new}
    p = sum(count for x, count in tables.items() if x >= new_bad) / math.comb(new + old, new)
    assert compare_shares(new_bad, new, old_bad, old) == pytest.approx(p, rel=1e-9)


@settings(max_examples=60)
@given(new=st.integers(1, 5000), old=st.integers(1, 2_000_000), data=st.data())
def test_fishers_test_stays_a_chance_and_falls_with_every_failure(new: int, old: int, data: st.DataObject) -> None:
    new_bad, old_bad = data.draw(st.integers(0, min(new - 1, 400))), data.draw(st.integers(0, min(old, 2000)))
    fewer, more = compare_shares(new_bad, new, old_bad, old), compare_shares(new_bad + 1, new, old_bad, old)
    assert 0 <= more <= fewer * (1 + 1e-6) <= 1 + 1e-6


def test_far_below_what_is_expected_is_no_reason_for_suspicion() -> None:
    assert compare_shares(1, 100_000, 90_000, 100_000) == 1.0
    assert compare_shares(90_000, 100_000, 1, 100_000) == 0.0


@pytest.mark.parametrize(
    ("n", "trip", "rate"),
    # research/reliability.md, finding 5: abort at `trip` failures; 0.1 % is normal.
    [(95, 2, 0.05), (315, 3, 0.02), (775, 4, 0.01)],
)
def test_samples_that_the_research_asks_for_miss_at_most_five_percent(n: int, trip: int, rate: float) -> None:
    assert find_at_most(trip - 1, n, rate) <= 0.05
    assert find_at_least(trip, n, 0.001) <= 0.01


@settings(max_examples=150)
@given(n=st.integers(0, 40), x=st.integers(-1, 41), p=st.floats(0, 1))
def test_binomial_tails_are_what_adding_up_gives(n: int, x: int, p: float) -> None:
    def at(k: int) -> float:
        return math.comb(n, k) * p**k * (1 - p) ** (n - k)

    assert find_at_most(x, n, p) == pytest.approx(sum(at(k) for k in range(n + 1) if k <= x), abs=1e-9)
    assert find_at_least(x, n, p) == pytest.approx(sum(at(k) for k in range(n + 1) if k >= x), abs=1e-9)


@pytest.mark.parametrize(
    # Clopper and Pearson's two-sided 95 % limits have 2.5 % on each side: 5 of 10 (R: binom.test), 10 of 100.
    ("x", "n", "lower"),
    [(5, 10, 0.1870860), (10, 100, 0.04900469), (1, 20, 0.001265089), (0, 10, 0.0)],
)
def test_the_lower_bound_is_clopper_and_pearsons(x: int, n: int, lower: float) -> None:
    assert find_lower(x, n, error=0.025) == pytest.approx(lower, rel=1e-5)


def counts(values: list[int], size: int) -> list[int]:
    return [values.count(bucket) for bucket in range(size)]


def test_ranks_give_the_book_s_example() -> None:
    # Hollander and Wolfe (1973), permeability of membranes, 69 f.: W = 35; without correction z = 1.2247, p = 0.1103.
    x = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    y = [1.15, 0.88, 0.90, 0.74, 1.21]
    order = sorted(x + y)
    ranked = rank([int(value in x) for value in order], [int(value in y) for value in order])
    assert ranked.u == 35
    assert ranked.variance == pytest.approx(5 * 10 * 16 / 12)
    assert find_chance([ranked]) == pytest.approx(0.1103, abs=1e-4)
    assert find_effect([ranked]) == pytest.approx(0.7)


@settings(max_examples=60)
@given(values=st.lists(st.integers(0, 4), min_size=2, max_size=8), data=st.data())
def test_u_and_its_variance_with_ties_are_what_all_ways_to_split_give(values: list[int], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(values) - 1))
    found = []
    for chosen in itertools.combinations(range(len(values)), n):
        new = [values[i] for i in chosen]
        old = [value for i, value in enumerate(values) if i not in chosen]
        ranked = rank(counts(new, 5), counts(old, 5))
        assert ranked.u == sum((a > b) + (a == b) / 2 for a in new for b in old)
        found.append(ranked)
    us = [one.u for one in found]
    mean = sum(us) / len(us)
    assert mean == pytest.approx(n * (len(values) - n) / 2)
    assert found[0].variance == pytest.approx(sum((u - mean) ** 2 for u in us) / len(us), abs=1e-9)


def test_equal_ones_that_differ_between_strata_do_not_look_different() -> None:
    # Clients' requests are long, dsops' own are short; the new release has mostly the latter.
    real, synthetic = rank([0, 0, 20], [0, 0, 2000]), rank([800, 0, 0], [800, 0, 0])
    assert find_chance([real, synthetic]) == 1.0
    assert find_effect([real, synthetic]) == 0.5
    assert find_effect([]) == 0.5


@settings(max_examples=60)
@given(data=st.data())
def test_the_chance_is_below_half_when_the_new_one_ranks_higher(data: st.DataObject) -> None:
    buckets = st.lists(st.integers(0, 50), min_size=4, max_size=4)
    ranked = rank(data.draw(buckets), data.draw(buckets))
    chance, effect = find_chance([ranked]), find_effect([ranked])
    assert 0 <= chance <= 1
    assert 0 <= effect <= 1
    if ranked.variance:
        assert (chance < 0.5) == (effect > 0.5 and ranked.excess > 0)


def test_what_all_tests_together_spend_is_the_whole_and_no_more() -> None:
    assert sum(find_spending(test) for test in range(1, 90)) == pytest.approx(1)
    assert sum(find_pass_spending(test) for test in range(1, 90)) == pytest.approx(1)


def test_a_test_is_due_when_the_samples_have_doubled() -> None:
    assert next(n for n in range(400) if want_test(n, tested=0)) == FIRST_TEST
    assert not want_test(199, tested=100)
    assert want_test(200, tested=100)


def test_looking_after_every_request_does_not_raise_more_alarms_than_promised() -> None:
    # 300 runs of equals that fail 5 % of requests, 800 each, looked at all the time: 20 % may be wrong alarms.
    rng, alarms, level = random.Random(7), 0, 0.2
    for _ in range(300):
        new_bad = old_bad = tested = tests = 0
        for n in range(1, 801):
            new_bad += rng.random() < 0.05
            old_bad += rng.random() < 0.05
            if want_test(n, tested=tested):
                tested, tests = n, tests + 1
                if compare_shares(new_bad, n, old_bad, n) <= level * find_spending(tests):
                    alarms += 1
                    break
    assert alarms <= 300 * level
