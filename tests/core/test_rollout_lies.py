"""Whatever nodes say, in whatever order: a rollout never breaks, and never goes forward when it must not."""

import json
from random import Random

import pytest
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.rollout import step
from dsops.core.rollout_events import Abort, Activate, Back, Drain, Event, Look, Pause, Refused, Resume, Seen, Widen
from dsops.core.rollout_state import Rollout, Rules, Status
from dsops.core.samples import ReleaseTally, Samples, Tally
from dsops.core.waves import get_most

from tests.core.rollouts import NEW, OLD, make_fleet

NAMES = [f"gpu{i}" for i in range(1, 8)]


def lie(rng: Random, name: str, at: float) -> Seen:
    """Anything that a status can say."""
    requests = rng.choice((0, 5, 400, 3000))
    tally = Tally(requests, rng.choice((0, 0, requests // 100, requests)))
    told = tuple(ReleaseTally(one, tally, tally, rng.choice("ab")) for one in (OLD, NEW) if rng.random() < 0.8)
    return Seen(
        name,
        pool=rng.choice(("gpu", "gpu", "t4")),
        is_reachable=rng.random() < 0.9,
        is_serving=rng.random() < 0.9,
        active=rng.choice((OLD, OLD, NEW, "r9", "")),
        canary=rng.choice(("", "", NEW, "r9")),
        share=rng.choice((0, 1, 5, 50)),
        is_moving=rng.random() < 0.2,
        drained=rng.choice(("", "", "", "li: fans", "rollout 7: brings r1")),
        bad=rng.choice(((), (), (), (NEW,))),
        alone=rng.random() < 0.3,
        samples=Samples(name, at, told) if rng.random() < 0.8 else None,
    )


def make_event(rng: Random, at: float) -> Event:
    dice = rng.random()
    if dice < 0.02:
        return rng.choice((Pause, Resume, Resume, Abort))(at, "ann", "because")
    if dice < 0.06:
        return Refused(at, rng.choice(NAMES), "no")
    alerts = ("Slow",) if rng.random() < 0.1 else ()
    return Look(at, tuple(lie(rng, name, at) for name in NAMES if rng.random() < 0.95), alerts)


@pytest.mark.parametrize("seed", range(40))
def test_no_lie_breaks_it(seed: int) -> None:
    rng, fleet = Random(seed), make_fleet(7, alone=(2, 5))
    rollout = fleet.begin(Rules(canary_minutes=1, step_minutes=1, min_sample=20))
    at = fleet.at
    for number in range(60):
        at += rng.choice((3.0, 60.0, 60.0, 4000.0, -500.0))
        event, before = make_event(rng, at), rollout
        try:
            rollout, effects = step(rollout, event)
        except DsopsError:
            assert not isinstance(event, Look | Refused)
            continue
        assert number % 16 or decode(Rollout, json.loads(rollout.to_json()), where="test") == rollout
        forward = [one for one in effects if isinstance(one, Activate | Widen)]
        if forward:
            assert isinstance(event, Look)
            assert not event.alerts
            assert before.status is rollout.status is Status.RUNNING
            for one in forward:
                part = rollout.find_part(one.node)
                assert part
                assert one.share > part.share
                assert not part.closed
        assert not any(isinstance(one, Back) for one in effects) or rollout.status is not Status.RUNNING
        drains = [one.node for one in effects if isinstance(one, Drain)]
        assert len(drains) <= 2 * get_most(len(NAMES))
        if before.is_over:
            assert (rollout, effects) == (before, ())
