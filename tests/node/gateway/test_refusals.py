"""Bad input: every refusal has OpenAI's form, the right status, and names what is wrong."""

import http.client
import json
import socket
import time
from typing import Any

import pytest
from dsops.core.keys import hash_key

from tests.node.gateway.bed import KEY, Bed

GOOD: dict[str, Any] = {"model": "tiny-r1", "messages": [{"role": "user", "content": "hi"}]}


def post(bed: Bed, body: object, path: str = "/v1/chat/completions") -> tuple[int, dict[str, Any]]:
    answer = bed.http.post(path, content=body if isinstance(body, bytes) else json.dumps(body))
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
    return answer.status_code, error


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": "hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [7]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [GOOD["messages"][0], {"role": 7, "content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": 7}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 513}, "max_tokens"),
        ({"max_completion_tokens": 513}, "max_completion_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"frequency_penalty": "1"}, "frequency_penalty"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"temprature": 1}, "temprature"),
    ],
)
def test_a_wrong_parameter_is_named(shared: Bed, change: dict[str, Any], param: str) -> None:
    status, error = post(shared, {**GOOD, **change})
    assert (status, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert param in error["message"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
        ({"suffix": "x"}, "suffix"),
        ({"messages": []}, "messages"),
    ],
)
def test_completions_refuse_by_name_too(shared: Bed, change: dict[str, Any], param: str) -> None:
    status, error = post(shared, {"model": "tiny-r1", "prompt": "x", **change}, "/v1/completions")
    assert (status, error["param"]) == (400, param)


def test_options_that_ask_for_nothing_are_accepted(shared: Bed) -> None:
    nothing = {"n": 1, "tools": [], "logprobs": False, "response_format": {"type": "text"}, "stop": None}
    assert shared.http.post("/v1/chat/completions", json={**GOOD, **nothing, "metadata": {}}).status_code == 200


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_parameter_is_named(shared: Bed, missing: str) -> None:
    status, error = post(shared, {key: value for key, value in GOOD.items() if key != missing})
    assert (status, error["param"], error["code"]) == (400, missing, "missing_required_parameter")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"model": "tiny-r1",\n "messages": [}', "Expecting value at line 2 column 15 (char 35)"),
        (b"", "Expecting value at line 1 column 1 (char 0)"),
        (b'{"temperature": NaN}', "NaN is not a JSON number"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 7"),
        (b"[" * 19000, "nested too deeply"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "valid JSON"),
        (b"[]", "should be an object, is an array"),
    ],
)
def test_invalid_json_is_refused_with_its_place(shared: Bed, body: bytes, says: str) -> None:
    status, error = post(shared, body)
    assert status == 400
    assert says in error["message"]


def test_a_template_that_refuses_is_the_clients_affair(shared: Bed) -> None:
    status, error = post(shared, {**GOOD, "messages": [{"role": "user", "content": "refuse"}]})
    assert (status, error["param"]) == (400, "messages")
    assert "not this" in error["message"]


def test_a_wrong_key_or_none_is_401(shared: Bed) -> None:
    for header, code in (
        ("Bearer sk-wrong", "invalid_api_key"),
        ("", "missing_api_key"),
        ("Basic x", "missing_api_key"),
    ):
        answer = shared.chat("hi", headers={"authorization": header})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_an_unknown_path_or_method_is_told(shared: Bed) -> None:
    assert post(shared, {}, "/v1/embeddings")[0] == 404
    answer = shared.http.get("/v1/chat/completions")
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        405,
        "/v1/chat/completions takes POST, not GET",
    )


def test_an_unknown_model_is_404(shared: Bed) -> None:
    status, error = post(shared, {**GOOD, "model": "gpt-4"})
    assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_413_and_the_client_can_read_it(shared: Bed, chunked: bool) -> None:
    body = b"x" * 3_000_000
    content = iter([body[i : i + 65536] for i in range(0, len(body), 65536)]) if chunked else body
    answer = shared.http.post("/v1/chat/completions", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert shared.chat("hi").status_code == 200


def test_a_body_that_never_comes_is_408(hasty: Bed) -> None:
    head = f"POST /v1/completions HTTP/1.1\r\nauthorization: Bearer {KEY}\r\ncontent-length: 9\r\n\r\n{{"
    assert b"408" in talk(hasty, head.encode()).splitlines()[0]


def test_what_is_not_http_gets_the_same_form_of_error(shared: Bed) -> None:
    answer = talk(shared, b"hello\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "invalid_http"


def talk(bed: Bed, data: bytes) -> bytes:
    """What comes back on a raw connection within a few seconds."""
    with socket.create_connection(("127.0.0.1", bed.place.port), timeout=5) as raw:
        raw.sendall(data)
        answer = http.client.HTTPResponse(raw)
        answer.begin()
        head = f"HTTP/1.1 {answer.status} {answer.reason}\r\n\r\n"
        return head.encode() + answer.read()


def test_the_key_file_is_read_again_when_it_changes(make_bed: Any) -> None:
    bed = make_bed()
    line = hash_key("sk-new", b"another-salt-16b", name="new")
    bed.place.keys.write_text(line + "\n")
    assert bed.chat("hi").status_code == 401
    assert bed.chat("hi", headers={"authorization": "Bearer sk-new"}).status_code == 200
    bed.place.keys.write_text("broken\n")
    assert bed.chat("hi", headers={"authorization": "Bearer sk-new"}).status_code == 200
    assert "dsops_gateway_keys_stale 1.0" in bed.metrics()
    assert "not a key line" in bed.place.control("GET", "/status")["keys"]


def test_without_auth_everybody_is_served(make_bed: Any) -> None:
    assert make_bed(auth=False).chat("hi", headers={"authorization": ""}).status_code == 200


def test_over_the_cap_a_request_is_told_when_to_come_back(make_bed: Any) -> None:
    bed = make_bed(max_in_flight=1)
    with bed.http.stream(
        "POST",
        "/v1/chat/completions",
        json={**GOOD, "stream": True, "messages": [{"role": "user", "content": "{slow:100}"}]},
    ) as slow:
        lines = slow.iter_lines()
        next(lines)
        answer = bed.chat("hi")
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "concurrency_limit")
        assert int(answer.headers["retry-after"]) >= 1
    end = time.monotonic() + 3
    while bed.chat("hi").status_code != 200:
        assert time.monotonic() < end
    assert 'dsops_gateway_rejected_total{reason="concurrency"}' in bed.metrics()
