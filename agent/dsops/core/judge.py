"""The gates of a rollout's step: is the new release worse than the active one, and is that known well enough? Pure.

Two errors, each with its own bound, so that both hold at once. FAIL only when a test for harm says so; all of those in
one step together are wrong in at most ALPHA of all steps. PASS only when a release that is worse by `find_margin`
would hardly have looked so good; that is wrong in at most BETA. Whatever lies between is HOLD: more samples decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dsops.core.rollout_state import Counted, Judged, Judgement, Rules, Trial
from dsops.core.samples import PER_TOKEN_BOUNDS, TTFT_BOUNDS, Tally, add
from dsops.core.stats import (
    GROWTH,
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

ALPHA, BETA = 0.01, 0.05
# Of ALPHA; their sum is 1.
PARTS = {"failed": 0.4, "wrong": 0.2, "ttft": 0.2, "per_token": 0.2}
WORDS = {"failed": "failed requests", "wrong": "wrong answers", "ttft": "first token", "per_token": "time per token"}
# A service fails so many requests when all is well; what the active release is taken to fail at least.
NORMAL = 0.001
# How many percent worse a PASS excludes: 0.9 points (1 % against 0.1 %) at 800 samples, as many as that takes.
FAILURES_TOLD = 8
# Below so much of a difference nobody is harmed, however sure it is.
LEAST_SHARE = 0.002
LEAST_EFFECT, LEAST_RATIO = 0.64, 1.2
# Times are compared from so many on, and golden answers.
LEAST_TIMES = LEAST_ANSWERS = 50
# Fewer samples than this say nothing at all.
LEAST_SAMPLE = 20
KINDS = ("real", "synthetic")
NONE = Counted()


@dataclass(frozen=True)
class Evidence:
    """What came of the new release in one step, and what it is compared with.

    beside: of the active release on the very nodes that serve both. wide: of it on all nodes of their pools, in the
    same time. history: of it in earlier steps. known: of it before the rollout began, as far as counters go back.
    is_sampled: dsops goes on asking the new release, as it does while a node has it as a canary; one that has all of
    the traffic is asked until it has baked there. is_served: some node still serves the active release, so that times
    are counted.
    """

    new: Counted
    beside: Counted
    wide: Counted
    history: Counted = NONE
    known: Counted = NONE
    is_sampled: bool = True
    is_served: bool = True


def find_margin(min_sample: int) -> float:
    """By how much (a share) a release may be worse and pass in at most BETA of all cases."""
    return min(0.5, max(0.01, FAILURES_TOLD / max(1, min_sample)) - NORMAL)


def look_for_harm(trial: Trial, evidence: Evidence) -> Trial:
    """The trial after a look: unchanged while no test is due, else with what each gate says now, FAIL or HOLD."""
    samples = evidence.new.requests
    if not want_test(samples, tested=trial.tested):
        return trial
    tests = trial.tests + 1
    judged = tuple(_test(gate, evidence, level=ALPHA * part * find_spending(tests)) for gate, part in PARTS.items())
    return replace(trial, judged=judged, tests=tests, tested=samples)


def want_pass_test(trial: Trial, evidence: Evidence, rules: Rules) -> bool:
    """Whether a test for PASS is due: the first with the minimum sample, the next when it has doubled."""
    return evidence.new.requests >= max(rules.min_sample, GROWTH * trial.passed_at)


def look_for_pass(trial: Trial, evidence: Evidence, rules: Rules) -> Trial:
    """The trial after a test for PASS; asked once the bake is over and only when `want_pass_test`.

    While times cannot be compared yet nothing is tested, and so nothing is spent: the next look tries again.
    """
    least = min(LEAST_TIMES, rules.min_sample)
    missing = tuple(one for gate in ("ttft", "per_token") if (one := _find_no_times(gate, evidence, least)))
    if missing:
        return replace(trial, judged=missing)
    passes = trial.passes + 1
    error = BETA * find_pass_spending(passes)
    judged = (
        _test_pass("failed", evidence, rules, error=error),
        _test_pass("wrong", evidence, rules, error=error),
        _look_at_times("ttft", evidence, rules),
        _look_at_times("per_token", evidence, rules),
    )
    return replace(trial, judged=judged, passes=passes, passed_at=evidence.new.requests)


def find_judgement(judged: Sequence[Judged]) -> tuple[Judgement, str]:
    """Of all gates together, and why: one that fails fails all, one that holds holds all."""
    for wanted in (Judgement.FAIL, Judgement.HOLD):
        found = [one.says for one in judged if one.judgement is wanted]
        if found:
            return wanted, "; ".join(found)
    return (Judgement.PASS, "no worse than before") if judged else (Judgement.HOLD, "nothing was tested yet")


def _test(gate: str, evidence: Evidence, *, level: float) -> Judged:
    if gate in ("failed", "wrong"):
        return _test_shares(gate, evidence, level=level)
    return _test_times(gate, evidence, level=level)


# --- shares -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pair:
    """Bad ones and all, of the new release and of what it is compared with; old 0 = with nothing but NORMAL."""

    new_bad: int
    new: int
    old_bad: int
    old: int

    @property
    def chance(self) -> float:
        if self.old == 0:
            return find_at_least(self.new_bad, self.new, NORMAL)
        return compare_shares(self.new_bad, self.new, self.old_bad, self.old)

    @property
    def is_harm(self) -> bool:
        normal = self.old_bad / self.old if self.old else NORMAL
        return self.new_bad / self.new - normal >= LEAST_SHARE


def _find_pairs(gate: str, evidence: Evidence, *, before: bool) -> list[_Pair]:
    """Clients' requests and dsops' own apart, since they do not fail alike; those that the new release had any of."""
    kinds = ("synthetic",) if gate == "wrong" else KINDS
    pairs = []
    for kind in kinds:
        new, old = _get_tally(evidence.new, kind), _find_old(evidence, kind, before=before)
        if new.requests:
            pairs.append(_Pair(_count_bad(gate, new), new.requests, _count_bad(gate, old), old.requests))
    return pairs


def _find_old(evidence: Evidence, kind: str, *, before: bool) -> Tally:
    """As near as there are enough: the same nodes, else all in the same time; with what came before when too few.

    before: what came before may be counted too. Not for a PASS, unless nothing else is left: an incident of
    yesterday must not make today's failures look normal.
    """
    enough = _get_tally(evidence.new, kind).requests
    beside, wide = _get_tally(evidence.beside, kind), _get_tally(evidence.wide, kind)
    if beside.requests >= enough:
        return beside
    if wide.requests >= enough or (wide.requests and not before):
        return wide
    history = add(wide, _get_tally(evidence.history, kind))
    return add(history, _get_tally(evidence.known, kind)) if before else history


def _get_tally(counted: Counted, kind: str) -> Tally:
    return counted.real if kind == "real" else counted.synthetic


def _count_bad(gate: str, tally: Tally) -> int:
    return tally.failed if gate == "failed" else tally.wrong


def _test_shares(gate: str, evidence: Evidence, *, level: float) -> Judged:
    pairs = _find_pairs(gate, evidence, before=True)
    if not pairs:
        return Judged(gate, Judgement.HOLD, f"{WORDS[gate]}: nothing to count yet")
    chances = [pair.chance for pair in pairs]
    # The smaller of two chances is found twice as easily.
    p = min(1.0, min(chances) * len(pairs))
    is_bad = any(pair.is_harm and chance * len(pairs) <= level for pair, chance in zip(pairs, chances, strict=True))
    return _tell_shares(gate, pairs, p, Judgement.FAIL if is_bad else Judgement.HOLD)


def _test_pass(gate: str, evidence: Evidence, rules: Rules, *, error: float) -> Judged:
    pairs = _find_pairs(gate, evidence, before=False)
    new, new_bad = sum(pair.new for pair in pairs), sum(pair.new_bad for pair in pairs)
    least = rules.min_sample if gate == "failed" else min(LEAST_ANSWERS, rules.min_sample) * evidence.is_sampled
    if new < least:
        return Judged(gate, Judgement.HOLD, f"{WORDS[gate]}: {new} samples of the new release, {least} are needed")
    if new < LEAST_SAMPLE and not new_bad:
        says = f"{WORDS[gate]}: {new} samples, which say nothing; each node watches itself"
        return Judged(gate, Judgement.PASS, says)
    margin = max(find_margin(rules.min_sample), find_margin(new) if gate == "wrong" else 0.0)
    # With the mean of both kinds' limits the tail is not smaller than the true one (Hoeffding 1956).
    limit = sum(pair.new * (max(NORMAL, find_lower(pair.old_bad, pair.old)) + margin) for pair in pairs) / new
    p = find_at_most(new_bad, new, limit)
    told = _tell_shares(gate, pairs, p, Judgement.PASS if p <= error else Judgement.HOLD)
    if told.judgement is Judgement.PASS:
        return told
    return replace(told, says=f"{told.says}: not yet sure that it is no worse, more samples decide")


def _tell_shares(gate: str, pairs: Sequence[_Pair], p: float, judgement: Judgement) -> Judged:
    new, new_bad = sum(pair.new for pair in pairs), sum(pair.new_bad for pair in pairs)
    old, old_bad = sum(pair.old for pair in pairs), sum(pair.old_bad for pair in pairs)
    against = f"{old_bad} of {old}" if old else f"{NORMAL:.1%} that are normal"
    says = f"{WORDS[gate]}: {new_bad} of {new} against {against} (p {p:.2g})"
    return Judged(gate, judgement, says, p, new_bad / new, old_bad / old if old else None)


# --- times ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Times:
    """A histogram and the sum of its values in seconds, 0 when nobody added them up."""

    buckets: tuple[int, ...]
    seconds: float

    @property
    def count(self) -> int:
        return sum(self.buckets)


def _get_times(gate: str, tally: Tally) -> _Times:
    if gate == "ttft":
        return _Times(tally.ttft, tally.ttft_seconds)
    return _Times(tally.per_token, tally.per_token_seconds)


def _find_strata(gate: str, evidence: Evidence, *, least: int = 1) -> list[tuple[_Times, _Times]]:
    """New and old of the same time, clients' requests and dsops' own apart: those with enough of both."""
    pairs = []
    for kind in KINDS:
        new, beside = (_get_times(gate, _get_tally(one, kind)) for one in (evidence.new, evidence.beside))
        is_enough = beside.count >= min(new.count, LEAST_TIMES)
        pairs.append((new, beside if is_enough else _get_times(gate, _get_tally(evidence.wide, kind))))
    return [(new, old) for new, old in pairs if min(new.count, old.count) >= least]


def _test_times(gate: str, evidence: Evidence, *, level: float) -> Judged:
    strata = _find_strata(gate, evidence, least=LEAST_TIMES)
    if not strata:
        return Judged(gate, Judgement.HOLD, f"{WORDS[gate]}: too few times to compare")
    ranks = [rank(new.buckets, old.buckets) for new, old in strata]
    p, effect = find_chance(ranks), find_effect(ranks)
    is_slower = effect >= LEAST_EFFECT and _find_ratio(gate, strata) >= LEAST_RATIO
    judgement = Judgement.FAIL if is_slower and p <= level else Judgement.HOLD
    return _tell_times(gate, strata, p, effect, judgement)


def _look_at_times(gate: str, evidence: Evidence, rules: Rules) -> Judged:
    """Whether it looks slower, without a test: what is not sure waits for the next.

    Once nobody serves the active release any more there will be no next: what it showed, it showed under another load.
    """
    least = min(LEAST_TIMES, rules.min_sample)
    strata = _find_strata(gate, evidence, least=least) if evidence.is_served else []
    if not strata:
        return _tell_no_times(gate, evidence, least)
    ranks = [rank(new.buckets, old.buckets) for new, old in strata]
    p, effect = find_chance(ranks), find_effect(ranks)
    is_slower = effect >= LEAST_EFFECT and _find_ratio(gate, strata) >= LEAST_RATIO
    told = _tell_times(gate, strata, p, effect, Judgement.HOLD if is_slower else Judgement.PASS)
    return replace(told, says=f"{told.says}: it looks slower, more samples decide") if is_slower else told


def _find_no_times(gate: str, evidence: Evidence, least: int) -> Judged | None:
    """What holds a release for want of times alone; None when they can be compared, or need not be."""
    if _find_strata(gate, evidence, least=least):
        return None
    told = _tell_no_times(gate, evidence, least)
    return told if told.judgement is Judgement.HOLD else None


def _tell_no_times(gate: str, evidence: Evidence, least: int) -> Judged:
    """Where the active release shows too few times, or none any more, nothing is held against the new one."""
    new, old = (
        sum(_get_times(gate, _get_tally(one, kind)).count for kind in KINDS) for one in (evidence.new, evidence.wide)
    )
    if not evidence.is_served:
        return Judged(gate, Judgement.PASS, f"{WORDS[gate]}: not compared, nobody serves the active release any more")
    if old >= least:
        says = f"{WORDS[gate]}: {new} times of the new release, {least} of one kind are needed of both"
        return Judged(gate, Judgement.HOLD, says)
    return Judged(gate, Judgement.PASS, f"{WORDS[gate]}: not compared, the active release shows {old} times")


def _find_ratio(gate: str, strata: Sequence[tuple[_Times, _Times]]) -> float:
    """How many times slower it is at least: of the sums; without them, as buckets allow at best, which is too little.

    Values beside a bucket's bound fall into other buckets by nothing: ranks alone would call that slower.
    """
    bounds = TTFT_BOUNDS if gate == "ttft" else PER_TOKEN_BOUNDS
    new = old = 0.0
    for mine, theirs in strata:
        weight = mine.count
        has_sums = mine.seconds > 0 and theirs.seconds > 0
        new += mine.seconds if has_sums else _sum_edges(mine.buckets, (0.0, *bounds))
        old += (
            weight / theirs.count * (theirs.seconds if has_sums else _sum_edges(theirs.buckets, (*bounds, bounds[-1])))
        )
    return new / old if old > 0 else 1.0


def _sum_edges(buckets: Sequence[int], edges: Sequence[float]) -> float:
    return sum(count * edge for count, edge in zip(buckets, edges, strict=True))


def _tell_times(
    gate: str, strata: Sequence[tuple[_Times, _Times]], p: float, effect: float, judgement: Judgement
) -> Judged:
    new, old = _find_mean([one for one, _ in strata]), _find_mean([one for _, one in strata])
    figures = f"{new:.3g} s against {old:.3g} s, " if new and old else ""
    says = f"{WORDS[gate]}: {figures}slower in {effect:.0%} of pairs (p {p:.2g})"
    return Judged(gate, judgement, says, p, new, old)


def _find_mean(times: Sequence[_Times]) -> float | None:
    count, seconds = sum(one.count for one in times), sum(one.seconds for one in times)
    return seconds / count if count and seconds else None
