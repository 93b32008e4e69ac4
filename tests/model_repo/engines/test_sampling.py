"""Sampling parameters are taken strictly, with vLLM's names and defaults."""

import json
from typing import Any

import pytest
from openvino_engine.errors import InvalidRequest
from openvino_engine.request import parse_ask
from openvino_engine.sampling import Sampling, parse_sampling
from openvino_engine.settings import Settings, parse_settings


def parse(**values: Any) -> Sampling:
    return parse_sampling(json.dumps(values), most_tokens=512)


def test_nothing_said_means_vllms_defaults() -> None:
    assert parse_sampling("", most_tokens=512) == Sampling()
    assert (Sampling().max_tokens, Sampling().temperature, Sampling().top_p) == (16, 1.0, 1.0)


def test_values_arrive_as_they_were_said() -> None:
    said = parse(max_tokens=9, temperature=0, stop=["a", "b"], seed=7, ignore_eos=True, top_k=-1)
    wanted = Sampling(max_tokens=9, temperature=0.0, stop=("a", "b"), seed=7, ignore_eos=True, top_k=-1)
    assert said == wanted


def test_a_single_stop_string_and_numbers_as_text_are_taken_like_vllms_backend_does() -> None:
    assert parse(stop="x", temperature="0.5", max_tokens="12") == Sampling(stop=("x",), temperature=0.5, max_tokens=12)


def test_no_max_tokens_means_as_many_as_the_limits_allow() -> None:
    assert parse(max_tokens=None).max_tokens is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tempurature": 1}, "unknown sampling parameter: tempurature"),
        ({"temperature": -0.1}, "temperature must be at least 0 and at most 10"),
        ({"temperature": True}, "temperature must be a number"),
        ({"temperature": "warm"}, "temperature must be a number"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1"),
        ({"max_tokens": 0}, "max_tokens must be a whole number"),
        ({"max_tokens": 1.5}, "max_tokens must be a whole number"),
        ({"max_tokens": 513}, "max_tokens is 513; this release allows 512"),
        ({"min_tokens": 20}, "min_tokens must not be more than max_tokens"),
        ({"stop": ""}, "each stop must be a text of 1 to 256 characters"),
        ({"stop": [1]}, "each stop must be a text"),
        ({"stop": ["x"] * 17}, "stop must be a text or a list of at most 16 texts"),
        ({"ignore_eos": 1}, "ignore_eos must be true or false"),
        ({"n": 2}, "n must be 1"),
        ({"ignore_eos": True, "stop_token_ids": [3]}, "stop_token_ids cannot go together with ignore_eos"),
    ],
)
def test_a_bad_value_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=r"^invalid_request: ") as caught:
        parse(**values)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "7", "[" * 100_000])
def test_what_is_not_a_json_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="sampling_parameters"):
        parse_sampling(text, most_tokens=512)


def test_the_prompt_is_repeated_only_without_streaming_and_unless_excluded() -> None:
    def echo(**tensors: Any) -> bool:
        return parse_ask({"text_input": b"x", **tensors}.get, "{}", most_tokens=9).echo

    assert echo()
    assert not echo(stream=True)
    assert not echo(exclude_input_in_output=True)
    with pytest.raises(InvalidRequest):
        echo(stream=True, exclude_input_in_output=False)


def test_request_parameters_stand_in_for_the_tensor() -> None:
    parameters = '{"max_tokens": 5, "triton_enable_empty_final_response": true}'
    ask = parse_ask({"text_input": b"x"}.get, parameters, most_tokens=9)
    assert ask.sampling == Sampling(max_tokens=5)


def test_a_prompt_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="text_input is not UTF-8"):
        parse_ask({"text_input": b"\xff", "stream": True}.get, "{}", most_tokens=9)


def strings(**values: str) -> dict[str, dict[str, str]]:
    return {key: {"string_value": value} for key, value in values.items()}


LIMITS = {"context": "1024", "max_tokens": "512", "queue": "128", "sequences": "64"}


def test_limits_come_from_the_parameters_of_config_pbtxt() -> None:
    assert parse_settings(strings(**LIMITS)) == Settings(1024, 512, 128, 64)
    assert parse_settings(strings(**LIMITS, threads="2")).threads == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": "many"}, "context must be a whole number"),
        ({"sequences": "0"}, "sequences must be at least 1"),
    ],
)
def test_a_bad_limit_is_named(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_settings(strings(**(LIMITS | change)))


def test_a_missing_limit_is_named() -> None:
    with pytest.raises(ValueError, match="parameter context is missing"):
        parse_settings({})
