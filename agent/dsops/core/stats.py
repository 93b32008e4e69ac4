"""Tests that compare a new release with the active one, by counts alone, and how often one may look. Pure.

All of them are one-sided: is the new one worse? Sources:
- two shares: Fisher's exact test (R. A. Fisher, The Design of Experiments, 1935). Exact at any size, so that three
  failures against none mean what they mean.
- one share: the binomial tail, and its lower bound by Clopper and Pearson (Biometrika 26, 1934).
- times, of which only histograms are known: Mann and Whitney's U (Ann. Math. Stat. 18, 1947) with the variance for
  ties (Lehmann, Nonparametrics, 1975), strata put together as by van Elteren (1960), and Vargha and Delaney's A as
  the size of the effect (J. Educ. Behav. Stat. 25, 2000): 0.56 is small, 0.64 medium, 0.71 large.
- many looks: looking again and again at 5 % ends in a false alarm almost surely (Armitage, McPherson and Rowe, JRSS A
  132, 1969). The error is spent in parts (Lan and DeMets, Biometrika 70, 1983), a part for each test, and their sum is
  the bound (Bonferroni), whatever the tests have to do with each other. A sequential ratio test (Wald) would need both
  rates beforehand; here the active release's is only known from its own samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# The first test is made at so many samples, the next whenever they have doubled: all looks between them are free.
FIRST_TEST, GROWTH = 25, 2
# The first dozen tests (to 51,200 samples) share three quarters of what may be spent evenly; the rest halves for ever.
EVEN_TESTS, EVEN_SHARE = 12, 0.75
# Tests for PASS: nearly all for the first, since a good release mostly passes there; then halves of what is left.
FIRST_PASS = 0.9
_NEGLIGIBLE = 1e-18


def find_spending(test: int) -> float:
    """The part of the error that the test of this number (from 1) may spend; over all numbers it sums up to 1."""
    if test <= EVEN_TESTS:
        return EVEN_SHARE / EVEN_TESTS
    return float((1 - EVEN_SHARE) / 2 ** (test - EVEN_TESTS))


def find_pass_spending(test: int) -> float:
    """The same for tests for PASS."""
    return FIRST_PASS if test == 1 else float((1 - FIRST_PASS) / 2 ** (test - 1))


def want_test(samples: int, *, tested: int) -> bool:
    """Whether a test is due at so many samples, when the last was made at `tested` (0 = none)."""
    return samples >= max(FIRST_TEST, GROWTH * tested)


def compare_shares(new_bad: int, new: int, old_bad: int, old: int) -> float:
    """Fisher's exact test: how likely the new one has at least so many bad ones when both are equally good."""
    bad, total = new_bad + old_bad, new + old
    least, most = max(0, bad - old), min(bad, new)
    if new_bad <= least:
        return 1.0

    def log_of(x: int) -> float:
        return _log_choose(bad, x) + _log_choose(total - bad, new - x) - _log_choose(total, new)

    term = tail = math.exp(log_of(new_bad))
    for x in range(new_bad, most):
        ratio = (bad - x) * (new - x) / ((x + 1) * (total - bad - new + x + 1))
        term *= ratio
        tail += term
        if ratio < 1 and term < tail * _NEGLIGIBLE:
            break
    if tail == 0.0 and new_bad * total <= new * bad:
        return 1.0  # so far below what is expected that the first term is no number any more
    return min(1.0, tail)


def find_at_most(x: int, n: int, p: float) -> float:
    """P(X <= x) of a binomial."""
    if x < 0:
        return 0.0
    if x >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    if x > n * p:
        return max(0.0, 1.0 - _sum_up(x + 1, n, p))
    term = total = math.exp(_log_choose(n, x) + x * math.log(p) + (n - x) * math.log1p(-p))
    for k in range(x, 0, -1):
        term *= k * (1 - p) / ((n - k + 1) * p)
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(1.0, total)


def find_at_least(x: int, n: int, p: float) -> float:
    """P(X >= x) of a binomial."""
    if x <= 0:
        return 1.0
    if x > n or p <= 0:
        return 0.0
    if p >= 1:
        return 1.0
    if x > n * p:
        return _sum_up(x, n, p)
    return max(0.0, 1.0 - find_at_most(x - 1, n, p))


def _sum_up(x: int, n: int, p: float) -> float:
    """P(X >= x), where the terms get smaller from x on."""
    term = total = math.exp(_log_choose(n, x) + x * math.log(p) + (n - x) * math.log1p(-p))
    for k in range(x, n):
        term *= (n - k) * p / ((k + 1) * (1 - p))
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(1.0, total)


def find_lower(x: int, n: int, *, error: float = 0.05) -> float:
    """Clopper and Pearson's lower bound: the true share is below it in at most `error` of all cases."""
    if x <= 0 or n <= 0:
        return 0.0
    low, high = 0.0, x / n
    for _ in range(50):
        middle = (low + high) / 2
        if find_at_least(x, n, middle) < error:
            low = middle
        else:
            high = middle
    return low


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


@dataclass(frozen=True)
class Ranks:
    """How the new one's values rank among all, by U of Mann and Whitney.

    u: pairs (new, old) in which the new one is greater, ties as half. variance: of u when both are alike.
    """

    u: float
    variance: float
    new: int
    old: int

    @property
    def excess(self) -> float:
        """How far u is above what equals would give."""
        return self.u - self.new * self.old / 2


def rank(new: Sequence[int], old: Sequence[int]) -> Ranks:
    """From counts per bucket; what is in one bucket is tied. Both have the same buckets."""
    n, m = sum(new), sum(old)
    u, below, ties = 0.0, 0, 0
    for mine, theirs in zip(new, old, strict=True):
        u += mine * (below + theirs / 2)
        below += theirs
        both = mine + theirs
        ties += both**3 - both
    total = n + m
    if total < 2:
        return Ranks(u, 0.0, n, m)
    return Ranks(u, n * m / 12 * ((total + 1) - ties / (total * (total - 1))), n, m)


def find_chance(strata: Sequence[Ranks]) -> float:
    """How likely the new one ranks so high by chance, over strata that are compared each for itself (normal)."""
    excess = variance = 0.0
    for one in strata:
        weight = 1 / (one.new + one.old + 1)
        excess += weight * one.excess
        variance += weight**2 * one.variance
    return math.erfc(excess / math.sqrt(variance) / math.sqrt(2)) / 2 if variance > 0 else 1.0


def find_effect(strata: Sequence[Ranks]) -> float:
    """Vargha and Delaney's A: how likely one of the new ones is greater than one of the old; 0.5 = alike."""
    pairs = sum(one.new * one.old / (one.new + one.old + 1) for one in strata)
    return sum(one.u / (one.new + one.old + 1) for one in strata) / pairs if pairs else 0.5
