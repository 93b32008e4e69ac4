"""An engine that refuses, fails, stalls, dies or comes back, and clients that leave."""

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.gateway.bed import KEY, Bed, events, wait_for
from tests.node.gateway.fake_triton import FakeTriton
from tests.ports import find_free_port

HERE = Path(__file__).parent
MakeBed = Callable[..., Bed]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("says", "status", "code"),
    [
        ("context_length_exceeded: 2000 tokens, at most 1024", 400, "context_length_exceeded"),
        ("Failed to process the request, message: invalid_request: top_k", 400, "invalid_value"),
        ("overloaded: 128 wait", 429, "overloaded"),
        ("Request for unknown model: 'llm' is not found", 503, "not_ready"),
        ("segmentation fault", 500, "engine_error"),
    ],
)
def test_an_error_before_the_first_token_has_its_http_status(
    shared: Bed, stream: bool, says: str, status: int, code: str
) -> None:
    answer = shared.chat(f"{{error:{says}}}", stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def test_an_error_after_the_first_token_is_the_streams_last_event(shared: Bed) -> None:
    got = events(shared.chat("{later:broken}", stream=True).text)
    assert got[-1]["error"]["message"] == "the engine failed: broken"
    assert got[-2]["choices"][0]["delta"] == {"content": "so far"}


def test_an_engine_that_cancels_by_itself_is_503(shared: Bed) -> None:
    assert shared.chat("{cancelled}", stream=True).json()["error"]["code"] == "engine_stopped"


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_an_engine_that_stalls_is_504(hasty: Bed, stream: bool) -> None:
    before = hasty.a.cancelled
    answer = hasty.chat("{stall}", stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    wait_for(lambda: hasty.a.cancelled == before + 1)


def test_an_engine_that_stalls_in_the_middle_ends_the_stream_with_an_error(hasty: Bed) -> None:
    got = events(hasty.chat("{stall:later}", stream=True).text)
    assert got[-1]["error"]["message"] == "the engine sent nothing for 0.5 s"


@pytest.mark.slow
def test_an_answer_that_takes_too_long_ends_at_the_deadline(make_bed: MakeBed) -> None:
    got = events(make_bed(deadline=3).chat("{slow:1000}", stream=True).text)
    assert got[-1]["error"]["message"] == "the answer took longer than 3 s"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_cancels_the_engine(make_bed: MakeBed, stream: bool) -> None:
    """It goes when the engine has its request, and long before the gateway would give up."""
    bed = make_bed(first_token_timeout=30, token_timeout=30, deadline=60)
    command = "{stall:later}" if stream else "{stall}"
    body = {"model": "tiny-r1", "messages": [{"role": "user", "content": command}], "stream": stream}
    client = http.client.HTTPConnection("127.0.0.1", bed.place.port, timeout=20)
    with contextlib.closing(client):
        client.request("POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {KEY}"})
        if stream:
            assert client.getresponse().readline().startswith(b"data: ")
        wait_for(lambda: len(bed.a.requests) == 1, seconds=10)
        assert bed.a.cancelled == 0
    wait_for(lambda: bed.a.cancelled == 1, seconds=10)
    wait_for(lambda: 'code="499"' in bed.metrics())
    assert bed.place.control("GET", "/status")["in_flight"] == 0


def test_a_client_that_does_not_read_does_not_hold_the_engine(hasty: Bed) -> None:
    before = hasty.a.cancelled
    body = {"model": "tiny-r1", "messages": [{"role": "user", "content": "{flood:400}"}], "stream": True}
    with hasty.http.stream("POST", "/v1/chat/completions", json=body):
        wait_for(lambda: hasty.a.cancelled == before + 1, seconds=20)


def test_a_slot_without_triton_is_503_at_once(make_bed: MakeBed) -> None:
    bed = make_bed()
    bed.stop_slot("a")
    for stream in (False, True):
        began = time.monotonic()
        answer = bed.chat("hi", stream=stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert int(answer.headers["retry-after"]) >= 1
        assert time.monotonic() - began < 10


def test_a_triton_that_came_back_is_used_at_once(make_bed: MakeBed) -> None:
    bed = make_bed()
    assert bed.chat("hi").status_code == 200
    bed.stop_slot("a")
    bed.start_slot("a", FakeTriton(name="second"))
    answer = bed.chat("{who}")
    assert answer.json()["choices"][0]["message"]["content"] == "second"


def test_a_triton_that_dies_loses_only_what_it_had(make_bed: MakeBed) -> None:
    port = find_free_port()
    with start_triton(port) as triton:
        bed = make_bed()
        bed.place.write_config({"a": port})
        bed.restart()
        assert bed.chat("{who}").status_code == 200
        whole = bed.chat("{die}")
        assert whole.status_code == 503
        assert triton.wait(timeout=5) == 9
    with start_triton(port) as triton:
        wait_for(lambda: bed.chat("{who}").status_code == 200)
        triton.kill()


def start_triton(port: int) -> "subprocess.Popen[str]":
    script = HERE / "fake_triton.py"
    process = subprocess.Popen([sys.executable, str(script), "--port", str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_lane_that_leads_nowhere_is_503(make_bed: MakeBed) -> None:
    bed = make_bed()
    (bed.place.root / "lanes" / "l4").unlink()
    answer = bed.chat("hi", headers={"x-dsops-lane": "l4"})
    assert answer.status_code == 503
    assert "lane l4 leads nowhere" in answer.json()["error"]["message"]
    bed.place.switch("l20", "c")
    assert bed.chat("hi", headers={"x-dsops-lane": "l20"}).status_code == 503


@pytest.mark.parametrize("damage", ["gone", "changed", "not json", "template"])
def test_a_damaged_release_is_503_with_its_name_in_the_log(make_bed: MakeBed, damage: str, caplog: Any) -> None:
    bed = make_bed()
    folder = bed.place.root / "slots" / "a"
    path = folder / ("chat_template.jinja" if damage == "template" else "release.json")
    if damage == "gone":
        path.unlink()
    elif damage == "changed":
        path.write_bytes(path.read_bytes().replace(b"int8", b"int4"))
    else:
        path.write_text("{% if")
    assert bed.chat("hi").status_code == 503
    assert str(path.resolve()) in caplog.text
