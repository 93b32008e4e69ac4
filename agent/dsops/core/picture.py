"""The picture of a rollout for people: lanes, samples, what the gates say, and what comes next and when. Pure data."""

from dataclasses import dataclass

from dsops.core.judge import find_judgement, show
from dsops.core.rollout import find_bake_seconds
from dsops.core.rollout_look import find_evidence
from dsops.core.rollout_state import Counted, Judged, Judgement, Part, Rollout, Stand, Status
from dsops.core.spread import find_targets


@dataclass(frozen=True)
class Shown:
    """Samples of one release: how many requests, how many of them failed or were wrong, mean times in seconds."""

    requests: int
    synthetic: int
    failed: int
    wrong: int
    ttft: float | None
    per_token: float | None


@dataclass(frozen=True)
class Row:
    """One node. share: percent of its requests that the new release gets; wants: and shall get in this step."""

    node: str
    pool: str
    stand: Stand
    share: int
    wants: int
    alone: bool
    reason: str
    new: Shown
    old: Shown


@dataclass(frozen=True)
class Picture:
    """step, steps: which of how many, from 1. judgement, why: of the gates at their last test; figures: as of now.

    next_percent: of the step that comes, 0 when none does. next_at: the earliest time for it, Unix seconds; None while
    the nodes are not at their share, or something else holds it. missing: samples that the step still needs.
    """

    release: str
    status: Status
    step: int
    steps: int
    percent: int
    hold: str
    judgement: Judgement
    why: str
    figures: tuple[Judged, ...]
    rows: tuple[Row, ...]
    baked_seconds: float
    bake_seconds: float
    missing: int
    next_percent: int
    next_at: float | None


def make_picture(rollout: Rollout, *, at: float) -> Picture:
    """As it is at this time. at: Unix seconds of whoever shows it."""
    targets = {} if rollout.is_over else find_targets(rollout)
    judgement, why = find_judgement(rollout.trial.judged)
    if judgement is not Judgement.FAIL and rollout.trial.passes:
        judgement = Judgement.PASS if rollout.trial.is_passed else Judgement.HOLD
        why = rollout.trial.waits
    evidence, rules = find_evidence(rollout), rollout.rules
    is_last = rollout.step + 1 == len(rules.steps)
    return Picture(
        release=rollout.release,
        status=rollout.status,
        step=rollout.step + 1,
        steps=len(rules.steps),
        percent=rollout.percent,
        hold=rollout.hold,
        judgement=Judgement.FAIL if rollout.failed else judgement,
        why=rollout.failed or why,
        figures=show(evidence),
        rows=tuple(_make_row(part, wants=targets.get(part.node, part.wants)) for part in rollout.parts),
        baked_seconds=rollout.baked,
        bake_seconds=find_bake_seconds(rollout),
        missing=max(0, rules.min_sample - evidence.new.requests),
        next_percent=0 if is_last or _is_going_back(rollout) else rules.steps[rollout.step + 1],
        next_at=_find_next_at(rollout, at=at),
    )


def _is_going_back(rollout: Rollout) -> bool:
    return rollout.is_over or rollout.status is Status.ABORTING


def _find_next_at(rollout: Rollout, *, at: float) -> float | None:
    if _is_going_back(rollout) or not rollout.baking or rollout.status is Status.PAUSED:
        return None
    return at + max(0.0, find_bake_seconds(rollout) - rollout.baked)


def _make_row(part: Part, *, wants: int) -> Row:
    return Row(
        node=part.node,
        pool=part.pool,
        stand=part.stand,
        share=part.share,
        wants=wants,
        alone=part.alone,
        reason=part.reason,
        new=show_counted(part.new),
        old=show_counted(part.old),
    )


def show_counted(counted: Counted) -> Shown:
    """Clients' requests and dsops' own together."""
    real, synthetic = counted.real, counted.synthetic
    return Shown(
        requests=counted.requests,
        synthetic=synthetic.requests,
        failed=real.failed + synthetic.failed,
        wrong=synthetic.wrong,
        ttft=_find_mean(real.ttft_seconds + synthetic.ttft_seconds, sum(real.ttft) + sum(synthetic.ttft)),
        per_token=_find_mean(
            real.per_token_seconds + synthetic.per_token_seconds, sum(real.per_token) + sum(synthetic.per_token)
        ),
    )


def _find_mean(seconds: float, count: int) -> float | None:
    return seconds / count if seconds and count else None
