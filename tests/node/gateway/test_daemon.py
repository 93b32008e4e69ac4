"""The process: its command line, systemd's notification, and SIGTERM."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.node.gateway.bed import KEY, Loop, Place, events
from tests.node.gateway.fake_triton import FakeTriton, start

ROOT = Path(__file__).parents[3]
HEADERS = {"authorization": f"Bearer {KEY}"}


class Process:
    """A gateway of its own with one Triton."""

    def __init__(self, root: Path, loop: Loop, **config: object) -> None:
        self.place = Place(root)
        self.fake = FakeTriton()
        self.server, port = loop.run(start(self.fake))
        self.path = self.place.write_config({"a": port}, drain_linger=0.2, **config)
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notices.bind(str(root / "notify"))
        self.notices.settimeout(10)
        self.process = run_gateway(self.path, NOTIFY_SOCKET=str(root / "notify"))
        self.url = f"http://127.0.0.1:{self.place.port}"

    def wait_notice(self) -> bytes:
        return self.notices.recv(100)


def run_gateway(path: Path, *more: str, **environment: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, "-m", "dsops.node.gateway", "--config", str(path), *more]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "agent"), **environment}
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def make(tmp_path: Path, loop: Loop) -> Iterator[Any]:
    made: list[Process] = []

    def build(**config: object) -> Process:
        made.append(Process(tmp_path, loop, **config))
        assert made[-1].wait_notice() == b"READY=1"
        return made[-1]

    yield build
    for one in made:
        one.process.kill()
        one.process.communicate()
        one.notices.close()


def chat(process: Process, prompt: str) -> Any:
    body = {"model": "tiny-r1", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    client = httpx.Client(headers=HEADERS, trust_env=False, timeout=10)
    return client.stream("POST", process.url + "/v1/chat/completions", json=body)


def test_it_says_ready_serves_and_stops_cleanly(make: Any) -> None:
    gateway = make()
    assert httpx.get(gateway.url + "/v1/models", headers=HEADERS, trust_env=False).status_code == 200
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.wait_notice() == b"STOPPING=1"
    assert gateway.process.wait(timeout=5) == 0
    assert not gateway.place.socket.exists()
    assert "Traceback" not in gateway.process.stderr.read()


def test_sigterm_lets_answers_end_and_accepts_no_more(make: Any) -> None:
    gateway = make(shutdown_grace=5)
    with chat(gateway, "{slow:100}") as answer:
        lines = answer.iter_lines()
        first = next(lines)
        assert answer.status_code == 200, first
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_notice()
        time.sleep(0.1)
        with pytest.raises(httpx.ConnectError):
            httpx.get(gateway.url + "/healthz", trust_env=False)
        admin = f"http://127.0.0.1:{gateway.place.admin_port}/healthz"
        assert httpx.get(admin, trust_env=False).json()["phase"] == "stopping"
        assert events("\n".join(lines))[-1] == "[DONE]"
    assert gateway.process.wait(timeout=5) == 0


def test_after_the_grace_an_answer_is_ended_with_an_error(make: Any) -> None:
    gateway = make(shutdown_grace=0.3)
    with chat(gateway, "{slow:1000}") as answer:
        lines = answer.iter_lines()
        first = next(lines)
        assert answer.status_code == 200, first
        gateway.process.send_signal(signal.SIGTERM)
        rest = list(lines)
        assert events("\n".join(rest))[-1]["error"]["code"] == "stopping", rest
    assert gateway.process.wait(timeout=5) == 0
    assert "1 answers did not end within 0.3 s" in gateway.process.stderr.read()


def test_a_socket_left_by_a_killed_gateway_is_replaced(make: Any) -> None:
    gateway = make()
    gateway.process.kill()
    gateway.process.wait()
    assert gateway.place.socket.exists()
    again = run_gateway(gateway.path, NOTIFY_SOCKET=str(gateway.place.root / "notify"))
    assert gateway.wait_notice() == b"READY=1"
    again.terminate()
    assert again.wait(timeout=5) == 0
    again.communicate()


def test_a_second_gateway_is_refused(make: Any) -> None:
    gateway = make()
    second = run_gateway(gateway.path)
    _, says = second.communicate(timeout=10)
    assert second.returncode == 1
    assert "another gateway listens here" in says
    assert "Traceback" not in says
    assert httpx.get(gateway.url + "/v1/models", headers=HEADERS, trust_env=False).status_code == 200


def test_a_port_that_is_taken_is_named_with_its_mend(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        _, says = run_gateway(place.write_config({"a": 1})).communicate(timeout=10)
    assert f"error: listen: cannot listen on 127.0.0.1:{place.port}" in says
    assert "mend: see who holds it" in says


def test_check_says_good_or_what_is_wrong(tmp_path: Path) -> None:
    place = Place(tmp_path)
    path = place.write_config({"a": 1})
    good = run_gateway(path, "--check")
    assert good.communicate(timeout=10)[0] == f"{path}: good\n"
    place.keys.write_text("")
    bad = run_gateway(path, "--check")
    assert "holds no key" in bad.communicate(timeout=10)[1]
    assert (good.returncode, bad.returncode) == (0, 1)
