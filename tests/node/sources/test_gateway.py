"""What the gateway says on its control socket."""

import json

import pytest
from dsops.node.sources.gateway import judge_gateway
from dsops.node.sources.http import Answer, Failure


def say(**data: object) -> Answer:
    return Answer(200, json.dumps(data).encode())


def test_a_serving_gateway_tells_its_numbers() -> None:
    seen = judge_gateway(say(drained=None, in_flight=3, tokens_per_second=10, p99_seconds=0.25, phase="serving"))
    assert (seen.reason, seen.drained, seen.in_flight) == ("", None, 3)
    assert (seen.tokens_per_second, seen.p99_seconds) == (10.0, 0.25)


def test_a_drained_gateway_tells_why_and_who() -> None:
    assert judge_gateway(say(drained={"reason": "fan", "who": "ann", "since": 1.0})).drained == "fan (ann)"
    assert judge_gateway(say(drained=True)).drained == "no reason given"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(0, failure=Failure.REFUSED, reason="connection refused"), "connection refused"),
        (Answer(500, b"{}"), "HTTP 500"),
        (Answer(200, b"<html>"), "did not answer JSON"),
        (Answer(200, b"[]"), "did not answer an object"),
    ],
)
def test_a_silent_or_strange_gateway_is_said(answer: Answer, said: str) -> None:
    assert said in judge_gateway(answer).reason


def test_numbers_of_another_kind_are_unknown() -> None:
    seen = judge_gateway(say(in_flight="many", tokens_per_second=True, p99_seconds=None))
    assert (seen.in_flight, seen.tokens_per_second, seen.p99_seconds) == (None, None, None)
