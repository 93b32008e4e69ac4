"""The engine inside a real Triton, over gRPC: answers, limits, departures, and deaths."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc.aio import InferenceServerClient  # type: ignore[import-untyped]
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from tests.model_repo.engines.triton_client import Answer, ask, open_stream, run_asks
from tests.triton_server import ROOT, TritonServer

pytestmark = pytest.mark.triton

LIMITS = {"context": 512, "max_tokens": 256, "queue": 32, "sequences": 32}
PROMPT = "<｜User｜>What is 12+30?<｜Assistant｜><think>\n"
LONG: dict[str, Any] = {
    "prompt": PROMPT,
    "stream": True,
    "max_tokens": 256,
    "temperature": 0,
    "ignore_eos": True,
}

# Stands in for openvino's step: raises once the file `break` lies beside model.py.
BREAKABLE = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).resolve().parent))
from openvino_engine import pipeline
from openvino_engine.backend import TritonPythonModel
step = pipeline.OpenVinoPipeline.step
def breakable(self):
    if Path(__file__).with_name("break").exists():
        raise RuntimeError("the step broke")
    step(self)
pipeline.OpenVinoPipeline.step = breakable
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with TritonServer(folder=tmp_path_factory.mktemp("triton"), limits=LIMITS) as server:
        yield server


def run_one(server: TritonServer, prompt: str | bytes = PROMPT, **sampling: Any) -> Answer:
    answer = run_asks(server.grpc_address, {"prompt": prompt, "temperature": 0, **sampling})[0]
    if isinstance(answer, BaseException):
        raise answer
    assert isinstance(answer, Answer)
    return answer


def test_streaming_and_not_streaming_give_the_same_answer(server: TritonServer) -> None:
    whole = run_one(server, max_tokens=60, ignore_eos=True)
    pieces = run_one(server, stream=True, max_tokens=60, ignore_eos=True)
    assert whole.text == pieces.text
    assert (len(whole.texts), whole.tokens, whole.finish) == (1, [60], "length")
    assert sum(pieces.tokens) == 60
    assert pieces.input_tokens == whole.input_tokens > 10
    assert set(pieces.finishes[:-1]) == {"None"}
    assert pieces.finish == "length"


def test_greedy_answers_are_the_same_alone_and_among_64(server: TritonServer) -> None:
    alone = run_one(server, max_tokens=40, ignore_eos=True).text
    wanted = {"prompt": PROMPT, "temperature": 0, "max_tokens": 40, "ignore_eos": True}
    answers = run_asks(server.grpc_address, *[wanted | {"stream": n % 2 == 0} for n in range(64)])
    assert [one for one in answers if isinstance(one, BaseException)] == []
    assert {one.text for one in answers} == {alone}


def test_an_answer_that_ends_by_itself_says_stop(server: TritonServer) -> None:
    first = run_one(server, max_tokens=3, ignore_eos=True, min_tokens=3)
    ends = run_one(server, max_tokens=60, stop=first.text[2:3])
    assert (ends.finish, ends.text) == ("stop", first.text[: first.text.index(first.text[2])])


@pytest.mark.parametrize("stream", [True, False])
def test_a_stop_string_never_leaks(server: TritonServer, stream: bool) -> None:
    text = run_one(server, max_tokens=60, ignore_eos=True).text
    stop = text[20:24]
    answer = run_one(server, stream=stream, max_tokens=60, ignore_eos=True, stop=[stop])
    assert (answer.text, answer.finish) == (text[: text.index(stop)], "stop")


def test_text_beyond_ascii_comes_back_unharmed(server: TritonServer) -> None:
    prompt = "12+3 = 多少？ naïve ☃ 🙂"
    answer = run_one(server, prompt, exclude=False, max_tokens=4)
    assert answer.text.startswith(prompt)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"prompt": "x" * 600}, "context_length_exceeded: the prompt has 600 tokens"),
        ({"prompt": "x" * 1_000_000}, "context_length_exceeded: the prompt has 1000000 characters"),
        ({"prompt": ""}, "invalid_request: the prompt is empty"),
        ({"prompt": b"\xff\xfe"}, "invalid_request: text_input is not UTF-8"),
        ({"max_tokens": 257}, "invalid_request: max_tokens is 257; this release allows 256"),
        ({"temperature": -1}, "invalid_request: temperature must be at least 0"),
        ({"tempurature": 1}, "invalid_request: unknown sampling parameter: tempurature"),
        ({"stream": True, "exclude": False}, "invalid_request: exclude_input_in_output"),
    ],
)
def test_what_cannot_be_served_is_refused_and_the_server_lives(
    server: TritonServer, wanted: dict[str, Any], message: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        run_one(server, **wanted)
    assert message in str(caught.value)
    assert run_one(server, max_tokens=2).finish


def test_an_error_has_tritons_code(server: TritonServer) -> None:
    body = b'{"text_input": "x", "parameters": {"tempurature": 1}}'
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/v2/models/llm/generate", body)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5)
    assert caught.value.code == 400
    assert b"invalid_request: unknown sampling parameter: tempurature" in caught.value.read()


def test_a_full_queue_is_refused_and_the_others_are_served(server: TritonServer) -> None:
    answers = run_asks(server.grpc_address, *[LONG for _ in range(80)])
    refused = [str(one) for one in answers if isinstance(one, BaseException)]
    assert len(refused) == 80 - 64
    assert all("overloaded: 32 requests run and 32 wait" in one for one in refused)
    assert all(sum(one.tokens) == 256 for one in answers if isinstance(one, Answer))


def test_a_cancelled_request_gives_its_place_back(server: TritonServer) -> None:
    async def leave_early() -> None:
        async with InferenceServerClient(server.grpc_address) as client:
            stream = open_stream(client, **LONG)
            await anext(stream)
            await stream.aclose()  # type: ignore[attr-defined]

    before = server.read_settled_metrics()
    asyncio.run(leave_early())
    server.wait_for_metric("running", 0, timeout_s=2)
    after = server.read_settled_metrics()
    assert after["generated_tokens_total"] - before["generated_tokens_total"] < 256


def test_a_client_that_is_killed_in_the_middle_costs_nothing_more(server: TritonServer) -> None:
    script = (
        "import asyncio, sys; from tests.model_repo.engines import triton_client as c\n"
        "async def run():\n"
        "    client = c.InferenceServerClient(sys.argv[1])\n"
        "    await asyncio.gather(*(one(client) for _ in range(16)))\n"
        "async def one(client):\n"
        f"    async for _ in c.open_stream(client, **{LONG!r}): print('got', flush=True)\n"
        "asyncio.run(run())\n"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", script, server.grpc_address]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"got\n"
        client.kill()
    server.wait_for_metric("running", 0, timeout_s=2)
    server.wait_for_metric("waiting", 0)
    assert run_one(server, max_tokens=2).finish


def test_metrics_count_what_was_done(server: TritonServer) -> None:
    before = server.read_settled_metrics()
    answer = run_one(server, max_tokens=20, ignore_eos=True)
    server.wait_for_metric("generated_tokens_total", before["generated_tokens_total"] + 20)
    after = server.read_settled_metrics()
    assert after["prefilled_tokens_total"] - before["prefilled_tokens_total"] == answer.input_tokens
    assert after["iterations_total"] - before["iterations_total"] >= 20


def test_the_same_seed_gives_the_same_answer_when_alone(server: TritonServer) -> None:
    first, second, other = (
        run_one(server, temperature=2.0, seed=seed, max_tokens=40, ignore_eos=True).text for seed in (7, 7, 8)
    )
    assert first == second != other


@pytest.mark.parametrize("path", ["repository/index", "systemsharedmemory/status", "trace/setting", "logging"])
def test_interfaces_that_change_the_server_are_closed(server: TritonServer, path: str) -> None:
    method = "POST" if path == "repository/index" else "GET"
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}/v2/{path}", method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=5)
    assert caught.value.code == 403


def test_closed_interfaces_are_closed_over_grpc_too(server: TritonServer) -> None:
    async def run() -> None:
        async with InferenceServerClient(server.grpc_address) as client:
            assert await client.is_model_ready("llm")
            for call in (client.get_model_repository_index, client.get_system_shared_memory_status):
                with pytest.raises(InferenceServerException, match="restricted"):
                    await call()

    asyncio.run(run())


def test_sigterm_ends_everything_and_leaves_nothing(tmp_path: Path) -> None:
    with TritonServer(folder=tmp_path, limits=LIMITS) as server:
        children = server.find_children()
        assert set(children) == {"triton_python_backend_stub", "guardian"}
        assert run_one(server, max_tokens=2).finish
        assert server.terminate() == 0
        assert all(_is_gone(pid) for pid in children.values())
        assert not list(Path("/dev/shm").glob(f"dsops-a-{server.http_port}-*"))


def test_sigterm_to_the_whole_service_lets_running_answers_end(tmp_path: Path) -> None:
    async def run(server: TritonServer) -> Answer:
        async with InferenceServerClient(server.grpc_address) as client:
            task = asyncio.create_task(ask(client, **LONG))
            await asyncio.sleep(0.1)
            os.killpg(server.pid, signal.SIGTERM)
            return await task

    with TritonServer(folder=tmp_path, limits=LIMITS) as server:
        answer = asyncio.run(run(server))
        assert sum(answer.tokens) == 256
        assert server.process.wait(15) == 0


def test_a_stub_that_is_killed_takes_its_server_down_and_nobody_waits(tmp_path: Path) -> None:
    async def run(server: TritonServer) -> tuple[list[Any], float]:
        async with InferenceServerClient(server.grpc_address) as client:
            tasks = [asyncio.create_task(ask(client, **LONG)) for _ in range(8)]
            await asyncio.sleep(0.2)
            os.kill(server.find_children()["triton_python_backend_stub"], signal.SIGKILL)
            start = time.monotonic()
            ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
            return ends, time.monotonic() - start

    with TritonServer(folder=tmp_path, limits=LIMITS) as server:
        ends, took = asyncio.run(run(server))
        assert all(isinstance(end, BaseException) for end in ends)
        assert took < 2
        assert server.process.wait(2) < 0
        assert "ending tritonserver" in server.log.read_text()


def test_a_server_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    with TritonServer(folder=tmp_path, limits=LIMITS) as server:
        children = server.find_children()
        server.process.kill()
        server.process.wait()
        deadline = time.monotonic() + 10
        while not all(_is_gone(pid) for pid in children.values()):
            assert time.monotonic() < deadline, "a child outlived its server"
            time.sleep(0.1)


def test_an_engine_that_fails_says_so_and_takes_its_server_down(tmp_path: Path) -> None:
    async def run(server: TritonServer) -> list[Any]:
        async with InferenceServerClient(server.grpc_address) as client:
            tasks = [asyncio.create_task(ask(client, **LONG)) for _ in range(4)]
            await asyncio.sleep(0.1)
            (tmp_path / "models/llm/1/break").touch()
            return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    with TritonServer(folder=tmp_path, limits=LIMITS, model_files={"model.py": BREAKABLE}) as server:
        ends = asyncio.run(run(server))
        assert all("engine_error: the engine failed: the step broke" in str(end) for end in ends)
        assert server.process.wait(5) < 0


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z"
    except OSError:
        return True
