"""What the gateway says on its control socket."""

import asyncio
import json
from pathlib import Path

import pytest
from dsops.node.sources.gateway import Ejected, SlotTraffic, admit, eject, judge_gateway, read_gateway
from dsops.node.sources.http import Answer, Failure

from tests.node.agent.fake_node import run_node


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


def test_an_ejected_gateway_tells_why_who_and_how_its_slots_do() -> None:
    slots = {"a": {"in_flight": 4, "tokens": 12, "idle_seconds": 0.5, "phase": "serving"}, "b": "?"}
    seen = judge_gateway(say(ejected={"reason": "it hangs", "who": "dsops-agent", "since": 1.0}, slots=slots))
    assert seen.ejected == Ejected("it hangs", "dsops-agent")
    assert seen.find_slot("a") == SlotTraffic(4, 12.0, 0.5)
    assert seen.find_slot("b") == seen.find_slot("c") == SlotTraffic()


def test_the_gateway_is_told_over_its_socket(tmp_path: Path) -> None:
    async def story() -> None:
        async with run_node(tmp_path) as node:
            assert node.socket
            assert (await eject(node.socket, reason="it hangs", who="dsops-agent", timeout=1)).is_ok
            assert node.ejected == {"reason": "it hangs", "who": "dsops-agent"}
            assert judge_gateway(await read_gateway(node.socket, timeout=1)).ejected is not None
            assert (await admit(node.socket, who="dsops-agent", timeout=1)).is_ok
            assert node.ejected is None

    asyncio.run(story())
