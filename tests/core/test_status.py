"""The status on the wire: it comes back as it went, and anything else is refused with its key."""

import dataclasses
import json
from typing import Any

import pytest
from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.core.status import (
    VERSION,
    BadMark,
    Blame,
    Canary,
    Condition,
    Finding,
    Gpu,
    NodeStatus,
    Phase,
    Proof,
    ReleaseState,
    Slot,
    Verdict,
    worst,
)
from hypothesis import given
from hypothesis import strategies as st


def make_status(**changes: Any) -> NodeStatus:
    status = NodeStatus(
        node="gpu1",
        role="gpu",
        release="r0123456789ab",
        release_state=ReleaseState.ACTIVE,
        release_reason="",
        phase=Phase.SERVING,
        phase_reason="",
        condition=Condition.OK,
        condition_reason="",
        since=1.5,
        observed_at=2.5,
        slots=(Slot("a", "r0123456789ab", "active", Phase.SERVING, "", 10.0),),
        gpus=(Gpu(0, "H100", "GPU-0", 40, 1, 2, None, 99.5),),
        gpus_reason="",
        tokens_per_second=12.5,
        p99_seconds=None,
        in_flight=0,
        drained=None,
        dsops_version="0.1.0",
        boot_id="b",
        uptime_seconds=3.0,
        findings=(make_finding(Condition.DEGRADED),),
        slot="a",
        verdict=Verdict.BAD,
        strikes=2,
        ejected="answers wrongly",
        baking_until=99.0,
        known_good=("r1", "r2"),
        fallback="r1",
        bad=(BadMark("r3", "wrong", None), BadMark("r4", "slow", 7.0)),
        failing_since=2.0,
        proof=Proof("r0123456789ab", 1.0, 12, 12, 0.5, 800.0, ("H100",)),
    )
    return dataclasses.replace(status, **changes)


def make_finding(condition: Condition, reason: str = "why") -> Finding:
    return Finding("gpu0", "gpu.lost", Verdict.BAD, Blame.HARDWARE, condition, reason, "reboot")


def test_a_status_comes_back_as_it_went() -> None:
    status = make_status()
    assert NodeStatus.from_json(status.to_json(), where="x") == status


def test_a_canary_comes_back_as_it_went() -> None:
    canary = Canary("rfedcba987654", "b", 5, 12.5, Verdict.UNKNOWN, 1, "p1 was answered wrong", 40)
    status = make_status(canary=canary)
    assert NodeStatus.from_json(status.to_json(), where="x").canary == canary


@given(
    since=st.floats(allow_nan=False, allow_infinity=False),
    reason=st.text(),
    phase=st.sampled_from(Phase),
    speed=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_any_words_and_numbers_come_back(since: float, reason: str, phase: Phase, speed: float | None) -> None:
    status = make_status(since=since, phase_reason=reason, phase=phase, tokens_per_second=speed)
    assert NodeStatus.from_json(status.to_json(), where="x") == status


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 1}, f"status version 1 is not {VERSION}"),
        ({"bad": [{"release": "r3", "reason": "x", "until": "soon"}]}, "x: bad[0]: until: should be a number"),
        ({"proof": {"release": "r3"}}, "x: proof: the key 'at' is missing"),
        ({"phase": "sleeping"}, "x: phase: should be one of loading"),
        ({"since": "now"}, "x: since: should be a number, is 'now'"),
        ({"in_flight": True}, "x: in_flight: should be a whole number, is True"),
        ({"gpus": {}}, "x: gpus: should be a list"),
        ({"gpus": [{"index": 0}]}, "x: gpus[0]: the key 'name' is missing"),
        ({"phase": ["serving"]}, "should be one of"),
        ({"relaese": "r1"}, "unknown key 'relaese'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(change: dict[str, Any], said: str) -> None:
    data = json.loads(make_status().to_json()) | change
    with pytest.raises(DsopsError) as caught:
        NodeStatus.from_json(json.dumps(data), where="x")
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', b"\xff"])
def test_what_is_no_status_is_an_expected_error(text: str | bytes) -> None:
    with pytest.raises(DsopsError):
        NodeStatus.from_json(text, where="x")


def test_the_worst_finding_names_the_condition() -> None:
    findings = tuple(make_finding(c, reason=c) for c in (Condition.DEGRADED, Condition.FAILED, Condition.BLIND))
    assert worst(findings) == (Condition.FAILED, "failed")
    assert worst(()) == (Condition.OK, "")


def test_a_misspelt_word_gets_its_neighbour_or_the_list() -> None:
    assert suggest("gpu9", ["gpu1", "lb1"]) == "did you mean gpu1?"
    assert suggest("zzz", ["gpu1", "lb1"]) == "known: gpu1, lb1"
