"""What comes back for good requests."""

import json
from typing import Any

import pytest

from tests.node.gateway.bed import Bed, events, wait_for


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_sequence_cuts_the_answer_even_across_pieces(shared: Bed, stream: bool) -> None:
    answer = shared.chat("{say:hm</think>one two three}", stop=["two", "never"], stream=stream)
    assert shared.a.requests[-1]["sampling"]["stop"] == ["two", "never"]
    assert read_content(answer.text, stream=stream) == ("one ", "stop")


def test_a_found_stop_sequence_cancels_the_engine(shared: Bed) -> None:
    before = shared.a.cancelled
    answer = shared.chat("{slow:200}", stop="3 ", stream=True)
    assert read_content(answer.text, stream=True) == ("0 1 2 ", "stop")
    wait_for(lambda: shared.a.cancelled == before + 1)


@pytest.mark.parametrize("stream", [False, True])
def test_characters_cut_between_messages_arrive_whole(shared: Bed, stream: bool) -> None:
    answer = shared.chat("{bytes:你好 é 🙂}", stream=stream)
    assert read_content(answer.text, stream=stream) == ("你好 é 🙂", "stop")


def test_a_model_that_never_closes_its_reasoning_still_answers(shared: Bed) -> None:
    whole = shared.chat("{say:it is 4}").json()["choices"][0]["message"]
    assert whole["content"] == "it is 4"
    assert read_content(shared.chat("{say:it is 4}", stream=True).text, stream=True)[0] == "it is 4"


def test_an_answer_cut_by_max_tokens_says_length(shared: Bed) -> None:
    answer = shared.chat("{length:thinki}", max_tokens=6).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"] == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "thinki",
    }
    assert answer["usage"]["completion_tokens"] == 6


def test_sampling_options_reach_the_engine(shared: Bed) -> None:
    options: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "seed": -1,
        "presence_penalty": 1,
    }
    answer = shared.chat("{echo}", **options, frequency_penalty=-1.5, max_completion_tokens=7, user="me")
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {
        **options,
        "frequency_penalty": -1.5,
        "max_tokens": 7,
        "seed": 2**63 - 1,
    }


def test_without_max_tokens_the_releases_limit_holds(shared: Bed) -> None:
    assert json.loads(shared.chat("{echo}").json()["choices"][0]["message"]["content"]) == {"max_tokens": 512}


def test_the_releases_template_makes_the_prompt(shared: Bed) -> None:
    parts = [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]
    messages = [{"role": "developer", "content": "short"}, {"role": "user", "content": parts}]
    shared.http.post("/v1/chat/completions", json={"model": "tiny-r1", "messages": messages})
    assert shared.a.requests[-1]["prompt"] == "<bos><system>short\n<user>hello\n<assistant><think>\n"


def test_whole_answers_are_one_message_from_the_engine_and_streams_are_reused(shared: Bed) -> None:
    shared.chat("hi")
    before = shared.a.streams
    for _ in range(10):
        assert shared.chat("hi").status_code == 200
    assert shared.a.streams == before
    assert shared.a.requests[-1]["stream"] is False


def test_a_request_id_is_returned_cleaned_or_made(shared: Bed) -> None:
    given = shared.chat("hi", headers={"x-request-id": "my id;1\t<x>"}).headers["x-request-id"]
    assert given == "myid1x"
    assert shared.chat("hi", headers={"x-request-id": "a" * 999}).headers["x-request-id"] == "a" * 128
    assert shared.http.get("/v1/models").headers["x-request-id"].startswith("req-")


def test_the_answer_says_which_release_made_it(shared: Bed) -> None:
    answer = shared.chat("hi")
    assert answer.headers["x-dsops-release"] == answer.json()["system_fingerprint"]


def test_the_lane_header_chooses_the_slot(shared: Bed) -> None:
    shared.place.switch("l4", "b")
    assert shared.chat("{who}", headers={"x-dsops-lane": "l4"}).json()["choices"][0]["message"]["content"] == "b"
    assert shared.chat("{who}", headers={"x-dsops-lane": "l1"}).json()["choices"][0]["message"]["content"] == "a"
    odd = shared.chat("{who}", headers={"x-dsops-lane": "../slots/b"})
    assert odd.json()["choices"][0]["message"]["content"] == "a"


def test_metrics_count_requests_tokens_and_times_by_lane_and_release(shared: Bed) -> None:
    shared.chat("hi", stream=True)
    release = shared.chat("hi").headers["x-dsops-release"]
    text = shared.metrics()
    labels = f'lane="l50",release="{release}"'
    for line in (
        f'dsops_gateway_requests_total{{code="200",{labels},route="/v1/chat/completions"}}',
        f"dsops_gateway_generated_tokens_total{{{labels}}}",
        f"dsops_gateway_prompt_tokens_total{{{labels}}}",
        f'dsops_gateway_time_to_first_token_seconds_bucket{{lane="l50",le="0.1",release="{release}"}}',
        f"dsops_gateway_time_per_output_token_seconds_count{{{labels}}}",
        f"dsops_gateway_request_seconds_count{{{labels}}}",
    ):
        assert line in text
    assert "dsops_gateway_in_flight 0.0" in text


def read_content(text: str, *, stream: bool) -> tuple[str, str]:
    """Content and finish reason of an answer's body."""
    if not stream:
        choice = json.loads(text)["choices"][0]
        return choice["message"]["content"], choice["finish_reason"]
    got = events(text)
    assert got[-1] == "[DONE]"
    choices = [event["choices"][0] for event in got[:-1]]
    return "".join(c["delta"].get("content", "") for c in choices), choices[-1]["finish_reason"]
