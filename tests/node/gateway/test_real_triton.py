"""The gateway in front of a real Triton with the real engine."""

import concurrent.futures
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from dsops.core.prompts import is_accepted, parse_prompts

from tests.node.gateway.bed import KEY, Bed, events, wait_for
from tests.node.gateway.test_eject import eject, health, probe, status
from tests.triton_server import CHECKPOINT, TritonServer

pytestmark = [pytest.mark.triton, pytest.mark.timeout(600)]
# Greedy and of a fixed length, so that two answers can be compared whatever the weights are worth.
FIXED: dict[str, Any] = {"temperature": 0, "max_tokens": 40, "ignore_eos": True}


def make_bed(root: Path, server: TritonServer) -> Bed:
    return Bed(root, ports={"a": server.grpc_port}, drain_linger=0.2, shutdown_grace=2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with TritonServer(folder=tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture(scope="module")
def bed(server: TritonServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    bed = make_bed(tmp_path_factory.mktemp("gateway"), server)
    yield bed
    bed.close()


def read_stream(text: str) -> tuple[str, str, dict[str, int]]:
    """Reasoning, content and usage of a stream's body."""
    got = events(text)
    assert got[-1] == "[DONE]"
    deltas = [choice["delta"] for event in got[:-1] for choice in event["choices"]]
    reasoning = "".join(delta.get("reasoning_content", "") for delta in deltas)
    return reasoning, "".join(delta.get("content", "") for delta in deltas), got[-2]["usage"]


def test_a_whole_answer_and_a_streamed_one_are_the_same(bed: Bed) -> None:
    whole = bed.chat("What is 12 + 30?", **FIXED).json()
    answer = bed.chat("What is 12 + 30?", **FIXED, stream=True, stream_options={"include_usage": True})
    message = whole["choices"][0]["message"]
    assert read_stream(answer.text) == (
        message["reasoning_content"] or "",
        message["content"],
        whole["usage"],
    )
    assert whole["usage"]["completion_tokens"] == 40
    assert whole["usage"]["prompt_tokens"] > 10


def test_health_follows_the_real_model(bed: Bed) -> None:
    assert bed.http.get("/healthz").json()["phase"] == "serving"


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_over_the_context_is_400(bed: Bed, stream: bool) -> None:
    answer = bed.chat("a" * 3000, stream=stream)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "messages")


def test_a_stop_sequence_ends_the_answer_before_it(bed: Bed) -> None:
    body = {"model": "tiny-r1", "prompt": "12+30=", **FIXED}
    text = bed.http.post("/v1/completions", json=body).json()["choices"][0]["text"]
    for stream in (False, True):
        answer = bed.http.post("/v1/completions", json={**body, "stop": text[10:12], "stream": stream})
        pieces = events(answer.text)[:-1] if stream else [answer.json()]
        assert "".join(piece["choices"][0]["text"] for piece in pieces) == text[: text.index(text[10:12])]
        assert pieces[-1]["choices"][0]["finish_reason"] == "stop"


def test_every_sampling_option_is_taken(bed: Bed) -> None:
    options: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "seed": -3, "max_tokens": 8}
    penalties: dict[str, Any] = {
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "repetition_penalty": 1.1,
    }
    answers = [bed.chat("hi", **options, **penalties) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_client_that_leaves_stops_costing(bed: Bed, server: TritonServer) -> None:
    before = server.read_settled_metrics()["generated_tokens_total"]
    body = {"model": "tiny-r1", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    long = {**body, "max_tokens": 512, "ignore_eos": True}
    with bed.http.stream("POST", "/v1/chat/completions", json=long) as answer:
        next(answer.iter_lines())
    server.wait_for_metric("running", 0)
    assert server.read_settled_metrics()["generated_tokens_total"] - before < 512


def test_the_openai_client_gets_64_answers_from_16_threads(bed: Bed) -> None:
    client = openai.OpenAI(base_url=bed.url + "/v1", api_key=KEY, max_retries=0)

    def ask(i: int) -> int:
        stream = client.chat.completions.create(
            model="tiny-r1",
            messages=[{"role": "user", "content": f"What is {i} + 1?"}],
            max_tokens=24,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"ignore_eos": True},
        )
        return max(chunk.usage.completion_tokens for chunk in stream if chunk.usage)

    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, range(64))) == [24] * 64


def test_a_full_queue_is_429_and_what_was_accepted_is_answered(tmp_path: Path) -> None:
    with TritonServer(folder=tmp_path, limits={"sequences": 1, "queue": 1}) as server:
        (root := tmp_path / "gateway").mkdir()
        bed = make_bed(root, server)
        try:
            with concurrent.futures.ThreadPoolExecutor(12) as threads:
                sent = [threads.submit(bed.chat, "hi", **{**FIXED, "max_tokens": 200}) for _ in range(12)]
                answers = [one.result() for one in sent]
        finally:
            bed.close()
    assert {answer.status_code for answer in answers} == {200, 429}
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1


def test_the_golden_prompts_are_answered_right_past_a_closed_door(bed: Bed) -> None:
    path = CHECKPOINT.parent / "prompts.json"
    eject(bed)
    try:
        for prompt in parse_prompts(path.read_bytes(), where=str(path)):
            code, text = probe(bed, prompt.prompt, tokens=prompt.tokens, x_dsops_slot="a")
            assert code == 200
            assert is_accepted(prompt, text, whole=True), (prompt.id, text)
    finally:
        bed.place.control("POST", "/admit", {"who": "test"})


def test_a_triton_that_stands_still_is_seen_by_who_waits_and_the_status_does_not_wait(
    bed: Bed, server: TritonServer
) -> None:
    wait_for(lambda: health(bed) == (200, "serving"))
    os.killpg(server.pid, signal.SIGSTOP)
    try:
        thread = threading.Thread(target=bed.chat, args=("hi",), kwargs=FIXED)
        thread.start()
        wait_for(lambda: (status(bed)["slots"]["a"]["idle_seconds"] or 0) > 2)
        began = time.monotonic()
        assert status(bed)["slots"]["a"]["in_flight"] == 1
        assert time.monotonic() - began < 2
    finally:
        os.killpg(server.pid, signal.SIGCONT)
    thread.join()
    wait_for(lambda: health(bed) == (200, "serving"))


def test_a_triton_that_is_killed_is_unwell_at_once(tmp_path: Path) -> None:
    with TritonServer(folder=tmp_path) as server:
        (root := tmp_path / "gateway").mkdir()
        bed = make_bed(root, server)
        try:
            wait_for(lambda: health(bed) == (200, "serving"))
            server.process.kill()
            server.process.wait()
            began = time.monotonic()
            wait_for(lambda: health(bed)[0] == 503)
            assert time.monotonic() - began < 1
        finally:
            bed.close()


def test_a_triton_that_stops_is_not_held_up_by_open_streams(tmp_path: Path) -> None:
    with TritonServer(folder=tmp_path) as server:
        (root := tmp_path / "gateway").mkdir()
        bed = make_bed(root, server)
        try:
            assert bed.chat("hi", **FIXED).status_code == 200
            began = time.monotonic()
            server.terminate()
            assert time.monotonic() - began < 5  # its own exit timeout
            assert bed.chat("hi").json()["error"]["code"] == "not_ready"
            wait_for(lambda: bed.http.get("/healthz").json()["phase"] == "stopped")
        finally:
            bed.close()


def test_a_triton_that_is_killed_ends_streams_with_an_error(tmp_path: Path) -> None:
    with TritonServer(folder=tmp_path) as server:
        (root := tmp_path / "gateway").mkdir()
        bed = make_bed(root, server)
        body = {"model": "tiny-r1", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        try:
            with bed.http.stream(
                "POST", "/v1/chat/completions", json={**body, "max_tokens": 512, "ignore_eos": True}
            ) as answer:
                lines = answer.iter_lines()
                next(lines)
                server.process.kill()
                assert events("\n".join(lines))[-1]["error"]["type"] == "service_unavailable"
            assert isinstance(bed.chat("hi"), httpx.Response)
            assert bed.chat("hi").status_code == 503
        finally:
            bed.close()
