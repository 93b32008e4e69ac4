"""A probe hears whole answers, and says what it heard of the others."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from dsops.node.sources.http import Failure
from dsops.node.sources.probe import Heard, ask_gateway, ask_slot

from tests.node.sources.talker import END, HEAD, Step, chunk, event, plain, said, talk

REFUSAL = b'HTTP/1.1 400 X\r\nContent-Length: 48\r\n\r\ndata: {"error":"invalid_request: max_tokens"}\r\n\r\n'


def hear(script: Sequence[Step], *, timeout: float = 2.0) -> Heard:
    async def ask() -> Heard:
        async with talk(script) as talker:
            return await ask_slot(talker.port, "12+30?", tokens=16, timeout=timeout)

    return asyncio.run(ask())


def test_a_whole_answer_is_heard_with_its_tokens_and_times() -> None:
    heard = hear([*said("4", "2")[:2], 1.0, *said("4", "2")[2:]], timeout=20)
    assert (heard.text, heard.finish, heard.tokens, heard.status) == ("42", "stop", 2, 200)
    assert heard.is_answer
    assert heard.first_seconds is not None
    assert heard.last_seconds is not None
    assert 0 < heard.first_seconds < 1.0 <= heard.last_seconds <= heard.seconds


def test_the_question_goes_out_greedy_and_streaming() -> None:
    async def ask() -> tuple[str, dict[str, object]]:
        async with talk(said("42")) as talker:
            await ask_slot(talker.port, "12+30?", tokens=16, timeout=2)
            return talker.asked[0]

    head, body = asyncio.run(ask())
    assert head.startswith("POST /v2/models/llm/generate_stream HTTP/1.1\r\n")
    assert "Connection: close" in head
    assert (body["text_input"], body["stream"]) == ("12+30?", True)
    assert body["sampling_parameters"] == '{"temperature": 0, "max_tokens": 16}'


def test_events_may_be_cut_anywhere_and_characters_too() -> None:
    data = event(text_output="四十二", finish_reason="stop", num_output_tokens=3)
    pieces = [chunk(data[i : i + 3]) for i in range(0, len(data), 3)]
    assert hear([HEAD, *pieces, END]).text == "四十二"


@pytest.mark.parametrize(
    ("script", "failure", "said_"),
    [
        ([HEAD, chunk(event(text_output="4")), 5.0], Failure.TIMEOUT, "no whole answer in 0.2 s"),
        ([5.0], Failure.TIMEOUT, "no whole answer in 0.2 s"),
        ([HEAD, chunk(event(text_output="4"))], Failure.ERROR, "the connection broke before the answer's end"),
        ([HEAD, chunk(event(text_output="4")), END], Failure.ERROR, "the connection broke before the answer's end"),
        ([], Failure.ERROR, "the connection broke before the answer's end"),
        ([b"220 mail ready\r\n\r\n"], Failure.ERROR, "what answers is no HTTP server"),
        ([HEAD, b"zz\r\n"], Failure.ERROR, "invalid literal"),
        ([HEAD, chunk(b"data: {\n\n")], Failure.ERROR, "Expecting"),
        ([HEAD, chunk(event(error="engine_error: boom")), END], Failure.NONE, "engine_error: boom"),
        (plain(400, error="invalid_request: x"), Failure.NONE, "HTTP 400: invalid_request: x"),
        (plain(503, error={"message": "not ready"}), Failure.NONE, "HTTP 503: not ready"),
        (plain(500), Failure.NONE, "HTTP 500"),
        ([REFUSAL], Failure.NONE, "HTTP 400: invalid_request: max_tokens"),
    ],
)
def test_what_is_no_whole_answer_is_said(script: list[Step], failure: Failure, said_: str) -> None:
    heard = hear(script, timeout=0.2)
    assert heard.failure is failure
    assert said_ in heard.says
    assert not heard.is_answer


def test_a_text_that_stalls_is_kept_as_far_as_it_came() -> None:
    assert hear([HEAD, chunk(event(text_output="From the")), 5.0], timeout=0.2).text == "From the"


def test_nobody_there_is_refused() -> None:
    heard = asyncio.run(ask_slot(1, "x", tokens=1, timeout=1))
    assert (heard.failure, heard.says) == (Failure.REFUSED, "connection refused")


def test_the_gateway_is_asked_as_a_client_asks_it(tmp_path: Path) -> None:
    events = [
        event(choices=[{"text": "42", "finish_reason": None}]),
        event(choices=[{"text": "", "finish_reason": "length"}]),
        event(choices=[], usage={"completion_tokens": 7}),
    ]

    async def ask() -> tuple[Heard, tuple[str, dict[str, object]]]:
        path = tmp_path / "gateway.sock"
        async with talk([HEAD, *map(chunk, events), chunk(b"data: [DONE]\n\n"), END], socket=path) as talker:
            heard = await ask_gateway(path, "12+30?", model="tiny-r1", tokens=16, timeout=2, slot="b")
            return heard, talker.asked[0]

    heard, (head, body) = asyncio.run(ask())
    assert (heard.text, heard.finish, heard.tokens) == ("42", "length", 7)
    assert head.startswith("POST /v1/completions HTTP/1.1\r\n")
    assert "x-dsops-slot: b" in head
    assert (body["model"], body["prompt"], body["max_tokens"], body["temperature"]) == ("tiny-r1", "12+30?", 16, 0)


def test_no_gateway_is_refused(tmp_path: Path) -> None:
    heard = asyncio.run(ask_gateway(tmp_path / "none", "x", model="m", tokens=1, timeout=1))
    assert heard.failure is Failure.REFUSED
