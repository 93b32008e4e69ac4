"""What clients' requests came to, release by release, as the control socket tells it."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from dsops.core.samples import PER_TOKEN_BOUNDS, TTFT_BOUNDS, ReleaseTally, Samples, Tally
from dsops.node.gateway.metrics import Metrics

from tests.node.gateway.bed import Bed, wait_for

MakeBed = Callable[..., Bed]
PROBE = {"model": "tiny-r1", "prompt": "{say:hello}", "max_tokens": 16, "temperature": 0, "stream": True}


def read(bed: Bed) -> Samples:
    return Samples.from_json(json.dumps(bed.place.control("GET", "/v1/samples")), where="x")


def find(bed: Bed, slot: str = "a") -> ReleaseTally:
    name = (bed.place.root / "slots" / slot).readlink().name
    return read(bed).find(name) or ReleaseTally(name)


def count(bed: Bed, ask: Callable[[], object]) -> tuple[int, int]:
    """By how many (requests, failed) grew."""
    before = find(bed).real
    ask()
    after = find(bed).real
    return after.requests - before.requests, after.failed - before.failed


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("prompt", "grown"),
    [
        ("hi", (1, 0)),
        ("{error:segmentation fault}", (1, 1)),
        ("{error:Request for unknown model: 'llm' is not found}", (1, 1)),
        ("{error:overloaded: 128 wait}", (0, 0)),
        ("{error:context_length_exceeded: 2000 tokens}", (0, 0)),
        ("{later:broken}", (1, 1)),
        ("{cancelled}", (1, 1)),
    ],
)
def test_answers_and_failures_count_and_clients_own_errors_do_not(
    shared: Bed, stream: bool, prompt: str, grown: tuple[int, int]
) -> None:
    assert count(shared, lambda: shared.chat(prompt, stream=stream)) == grown


def test_a_stream_that_stalls_in_the_middle_has_failed(hasty: Bed) -> None:
    assert count(hasty, lambda: hasty.chat("{stall:later}", stream=True)) == (1, 1)


def test_what_no_release_was_asked_counts_for_none(shared: Bed) -> None:
    def ask() -> None:
        shared.http.get("/v1/models")
        shared.http.post("/v1/chat/completions", json={"model": "tiny-r1"})
        shared.http.post("/v1/chat/completions", json={}, headers={"authorization": "Bearer wrong"})
        shared.chat("hi", model="another")

    assert count(shared, ask) == (0, 0)


def test_a_client_that_leaves_says_nothing_of_the_release(shared: Bed) -> None:
    before, cancelled = find(shared).real, shared.a.cancelled
    body = {"model": "tiny-r1", "messages": [{"role": "user", "content": "{slow:1000}"}], "stream": True}
    with contextlib.suppress(Exception), shared.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        next(answer.iter_lines())
    wait_for(lambda: shared.a.cancelled == cancelled + 1)
    assert (find(shared).real.requests, find(shared).real.failed) == (before.requests, before.failed)


def test_nor_does_one_that_does_not_read(hasty: Bed) -> None:
    before, cancelled = find(hasty).real, hasty.a.cancelled
    body = {"model": "tiny-r1", "messages": [{"role": "user", "content": "{flood:400}"}], "stream": True}
    with hasty.http.stream("POST", "/v1/chat/completions", json=body):
        wait_for(lambda: hasty.a.cancelled == cancelled + 1, seconds=20)
        wait_for(lambda: hasty.place.control("GET", "/status")["in_flight"] == 0)
    assert (find(hasty).real.requests, find(hasty).real.failed) == (before.requests, before.failed)


def test_a_full_house_is_no_fault_of_the_release(make_bed: MakeBed) -> None:
    bed = make_bed(max_in_flight=1)
    assert bed.chat("hi").status_code == 200
    body = {"model": "tiny-r1", "messages": [{"role": "user", "content": "{slow:100}"}], "stream": True}
    with bed.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        assert count(bed, lambda: bed.chat("hi")) == (0, 0)


def test_times_of_streams_fall_into_the_buckets_that_both_sides_know(shared: Bed) -> None:
    before = find(shared).real
    for _ in range(3):
        shared.chat("{slow:5}", stream=True)
    shared.chat("hi", stream=False)
    after = find(shared).real
    assert (len(after.ttft), len(after.per_token)) == (len(TTFT_BOUNDS) + 1, len(PER_TOKEN_BOUNDS) + 1)
    assert sum(after.ttft) - sum(before.ttft or (0,)) == 3
    assert sum(after.per_token) - sum(before.per_token or (0,)) == 3
    assert 0.01 < (after.per_token_seconds - before.per_token_seconds) / 3 < 0.1
    page = shared.metrics()
    assert 'dsops_gateway_time_to_first_token_seconds_bucket{lane="l50"' in page
    assert 'le="0.35"' in page


def test_dsops_own_questions_are_no_requests(shared: Bed) -> None:
    assert count(shared, lambda: shared.place.control_raw("POST", "/v1/completions", PROBE, {})) == (0, 0)
    assert count(shared, lambda: shared.place.control_raw("POST", "/v1/completions", PROBE, {"x-dsops-slot": "b"})) == (
        0,
        0,
    )


def test_each_lane_counts_for_the_release_that_it_leads_to(make_bed: MakeBed) -> None:
    bed = make_bed()
    other = bed.place.add_release(model="tiny-r2")
    bed.place.link(bed.place.root / "slots" / "b", f"../releases/{other}")
    bed.place.switch("l1", "b")
    for lane, model in (("l1", "tiny-r2"), ("l4", "tiny-r1"), ("l50", "tiny-r1"), ("none", "tiny-r1")):
        assert bed.chat("hi", headers={"x-dsops-lane": lane}, model=model).status_code == 200
    assert (find(bed, "a").real.requests, find(bed, "b").real.requests) == (3, 1)
    bed.stop_slot("b")
    assert bed.chat("hi", headers={"x-dsops-lane": "l1"}, model="tiny-r2").status_code == 503
    assert (find(bed, "b").real.requests, find(bed, "b").real.failed) == (2, 1)
    assert find(bed, "a").real.failed == 0


def test_a_restarted_gateway_begins_another_life(make_bed: MakeBed) -> None:
    bed = make_bed()
    fresh = find(bed)
    assert (fresh.real.requests, bool(fresh.lives)) == (0, True)
    bed.chat("hi")
    before = find(bed)
    assert before.lives == fresh.lives
    assert find(bed).lives == before.lives
    bed.restart()
    bed.chat("hi")
    after = find(bed)
    assert after.real.requests == before.real.requests == 1
    assert after.lives != before.lives


def test_a_release_that_came_long_ago_is_forgotten_and_begins_anew() -> None:
    metrics = Metrics()
    lives: dict[str, Any] = {}
    for number in [*range(20), 0]:
        release = f"r{number}"
        metrics.get_target("l50", release).observe_ttft(0.1)
        metrics.count_outcome(release, failed=False)
        lives.setdefault(release, metrics.get_counts(release).life)
    tallies = {one.release: one for one in metrics.list_tallies()}
    assert len(tallies) == 16
    assert tallies["r0"].lives != lives["r0"]
    assert tallies["r19"].lives == lives["r19"]
    assert all((one.real.requests, sum(one.real.ttft)) == (1, 1) for one in tallies.values())
    assert tallies["r0"].synthetic == Tally()
