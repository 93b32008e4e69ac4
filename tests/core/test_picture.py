"""The picture of a rollout: what people see of it."""

import json
from dataclasses import asdict

from dsops.core.picture import make_picture
from dsops.core.rollout_events import Pause
from dsops.core.rollout_state import Judgement, Rules, Stand, Status

from tests.core.rollouts import NEW, make_fleet


def test_it_shows_lanes_samples_verdict_and_the_next_step() -> None:
    fleet = make_fleet(3)
    fleet.begin()
    fleet.run(minutes=11)
    assert fleet.rollout
    picture = make_picture(fleet.rollout, at=fleet.at)
    assert (picture.status, picture.step, picture.steps, picture.percent) == (Status.RUNNING, 1, 5, 1)
    assert (picture.judgement, picture.missing, picture.next_percent) == (Judgement.HOLD, 200, 5)
    first, second, _ = picture.rows
    assert (first.node, first.stand, first.share, first.wants) == ("gpu1", Stand.HAS, 1, 1)
    assert (first.new.requests, first.new.synthetic, first.new.failed) == (600, 600, 0)
    assert (second.stand, second.share, second.new.requests) == (Stand.WAITS, 0, 0)
    assert [one.gate for one in picture.figures] == ["failed", "wrong", "ttft", "per_token"]
    assert picture.next_at == fleet.at + 30 * 60 - picture.baked_seconds
    json.dumps(asdict(picture))


def test_what_waits_for_nodes_or_a_person_has_no_time() -> None:
    fleet = make_fleet(3)
    fleet.begin()
    assert fleet.rollout
    assert make_picture(fleet.rollout, at=fleet.at).next_at is None
    fleet.run(minutes=5)
    fleet.send(Pause(fleet.at, "ann", "lunch"))
    picture = make_picture(fleet.rollout, at=fleet.at)
    assert (picture.next_at, picture.hold) == (None, "paused by ann: lunch")


def test_what_failed_says_why_and_what_is_over_has_no_next_step() -> None:
    fleet = make_fleet(3, failing={NEW: 0.5})
    fleet.begin()
    rollout = fleet.run(minutes=60)
    picture = make_picture(rollout, at=fleet.at)
    assert (picture.judgement, picture.next_percent, picture.next_at) == (Judgement.FAIL, 0, None)
    assert picture.why.startswith("failed requests: ")


def test_a_rollout_that_is_done_passed() -> None:
    fleet = make_fleet(1, per_look=400)
    fleet.begin(Rules(canary_minutes=1, step_minutes=1, min_sample=20))
    picture = make_picture(fleet.run(minutes=60), at=fleet.at)
    assert (picture.status, picture.judgement, picture.next_percent) == (Status.DONE, Judgement.PASS, 0)
