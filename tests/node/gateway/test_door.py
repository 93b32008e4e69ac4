"""Draining, undraining, and switching lanes, also while requests come in."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.node.gateway.bed import KEY, Bed, events

MakeBed = Callable[..., Bed]
BODY = {"model": "tiny-r1", "messages": [{"role": "user", "content": "{who}"}]}


def is_refused(bed: Bed) -> bool:
    try:
        socket.create_connection(("127.0.0.1", bed.place.port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


def drain(bed: Bed, **more: object) -> dict[str, Any]:
    return bed.place.control("POST", "/drain", {"reason": "test", "who": "me", **more})


def test_a_drained_gateway_refuses_connections_and_says_why_on_its_admin_port(make_bed: MakeBed) -> None:
    bed = make_bed()
    assert drain(bed) == {"drained": True, "persisted": True, "in_flight": 0}
    assert is_refused(bed)
    health = httpx.get(bed.admin + "/healthz", trust_env=False)
    assert (health.status_code, health.json()["phase"]) == (503, "drained")
    assert health.json()["reason"] == "drained by me: test"
    assert "dsops_gateway_drained 1.0" in bed.metrics()
    bed.place.control("POST", "/undrain")
    assert bed.chat("hi").status_code == 200
    assert httpx.get(bed.admin + "/healthz", trust_env=False).json()["phase"] == "serving"


def test_what_is_in_flight_goes_on_through_a_drain_and_its_connection_closes(make_bed: MakeBed) -> None:
    bed = make_bed()
    body = {**BODY, "stream": True, "messages": [{"role": "user", "content": "{slow:100}"}]}
    with bed.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert drain(bed)["in_flight"] == 1
        assert is_refused(bed)
        assert events("\n".join(lines))[-1] == "[DONE]"
    # The stream began before the drain and could not announce the end of its connection: one more is served.
    assert bed.chat("hi").headers["connection"] == "close"
    with pytest.raises(httpx.ConnectError):
        bed.chat("hi")


def test_a_kept_alive_connection_is_served_once_more_then_closed(make_bed: MakeBed) -> None:
    bed = make_bed(drain_linger=1)
    connection = http.client.HTTPConnection("127.0.0.1", bed.place.port)
    headers = {"authorization": f"Bearer {KEY}"}
    connection.request("GET", "/v1/models", headers=headers)
    assert connection.getresponse().read()
    drain(bed)
    connection.request("POST", "/v1/chat/completions", json.dumps(BODY), headers)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("connection")) == (200, "close")


def test_an_idle_connection_is_closed_after_the_linger(make_bed: MakeBed) -> None:
    bed = make_bed()
    connection = http.client.HTTPConnection("127.0.0.1", bed.place.port, timeout=3)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    drain(bed)
    assert connection.sock.recv(1) == b""


def test_a_drain_for_a_sick_slot_refuses_on_old_connections_too(make_bed: MakeBed) -> None:
    bed = make_bed()
    assert bed.chat("hi").status_code == 200
    drain(bed, refuse=True)
    answer = bed.chat("hi")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")


def test_a_drain_survives_a_restart_and_so_does_its_end(make_bed: MakeBed) -> None:
    bed = make_bed()
    drain(bed)
    bed.restart()
    assert is_refused(bed)
    assert bed.place.control("GET", "/status")["drained"]["reason"] == "test"
    bed.place.control("POST", "/undrain")
    bed.restart()
    assert bed.chat("hi").status_code == 200


def test_an_unreadable_state_file_means_drained(make_bed: MakeBed) -> None:
    bed = make_bed()
    bed.config.state_file.write_text("{")
    bed.restart()
    assert is_refused(bed)
    assert "cannot be read" in bed.place.control("GET", "/status")["drained"]["reason"]


def test_a_drain_takes_effect_even_when_it_cannot_be_saved(make_bed: MakeBed) -> None:
    bed = make_bed()
    bed.config.state_file.parent.rmdir()
    assert drain(bed)["persisted"] is False
    assert is_refused(bed)


def test_undrain_while_another_holds_the_port_says_so_and_stays_drained(make_bed: MakeBed) -> None:
    bed = make_bed()
    drain(bed)
    with socket.socket() as other:
        other.bind(("127.0.0.1", bed.place.port))
        other.listen()
        answer = bed.place.control("POST", "/undrain")
        assert "ss -ltnp" in answer["error"]["message"]
    assert bed.place.control("GET", "/status")["phase"] == "drained"
    assert bed.place.control("POST", "/undrain")["drained"] is False


def test_the_control_socket_is_private_and_explains_itself(make_bed: MakeBed) -> None:
    bed = make_bed()
    assert bed.place.socket.stat().st_mode & 0o777 == 0o660
    assert "POST /drain" in bed.place.control("GET", "/what")["error"]["message"]
    assert "reason" in bed.place.control("POST", "/drain", {"reason": 7})["error"]["message"]
    assert not is_refused(bed)


def test_status_tells_the_last_minute(make_bed: MakeBed) -> None:
    bed = make_bed()
    for _ in range(3):
        bed.chat("hi")
    status = bed.place.control("GET", "/status")
    assert status["tokens_per_second"] > 0
    assert 0 < status["p50_seconds"] <= status["p99_seconds"] < 5
    assert (status["in_flight"], status["drained"], status["lanes"]["l50"]) == (0, None, "a")
    assert status["slots"]["b"]["phase"] == "serving"


@pytest.mark.slow
def test_health_follows_the_stable_lanes_triton(make_bed: MakeBed) -> None:
    bed = make_bed()
    assert bed.http.get("/healthz").json()["status"] == "ok"
    for change, phase in (("not ready", "loading"), ("slow", "unknown"), ("stopped", "stopped")):
        bed.a.ready = change != "not ready"
        bed.a.ready_delay = 30.0 if change == "slow" else 0.0
        if change == "stopped":
            bed.stop_slot("a")
        time.sleep(0.55)
        began = time.monotonic()
        health = bed.http.get("/healthz")
        assert (health.status_code, health.json()["phase"]) == (503, phase)
        assert time.monotonic() - began < 10
    bed.place.switch("l50", "b")
    assert bed.http.get("/healthz").status_code == 200


def test_readiness_is_asked_at_most_twice_a_second(make_bed: MakeBed) -> None:
    bed = make_bed()
    bed.http.get("/healthz")
    asked, began = bed.a.ready_asked, time.monotonic()
    for _ in range(50):
        bed.http.get("/healthz")
    assert bed.a.ready_asked <= asked + 1 + 2 * (time.monotonic() - began)


@pytest.mark.slow
def test_switching_the_lane_loses_no_request_and_holds_for_the_next_one(make_bed: MakeBed) -> None:
    bed = make_bed()
    stop = threading.Event()
    answers: list[tuple[int, str]] = []

    def client(stream: bool) -> None:
        with httpx.Client(base_url=bed.url, headers=bed.http.headers, trust_env=False) as mine:
            while not stop.is_set():
                answer = mine.post("/v1/chat/completions", json={**BODY, "stream": stream})
                answers.append((answer.status_code, answer.text))

    clients = [threading.Thread(target=client, args=(i % 2 == 0,)) for i in range(8)]
    for thread in clients:
        thread.start()
    for i in range(60):
        slot = "ba"[i % 2]
        bed.place.switch("l50", slot)
        content = bed.chat("{who}").json()["choices"][0]["message"]["content"]
        assert content == slot
        time.sleep(0.03)
    stop.set()
    for thread in clients:
        thread.join()
    assert len(answers) > 200
    assert {status for status, _ in answers} == {200}
    assert all('"content":"' in text for _, text in answers)
    assert min(len(bed.a.requests), len(bed.b.requests)) > 50


def test_draining_under_load_loses_nothing_that_had_connected(make_bed: MakeBed) -> None:
    bed = make_bed(drain_linger=1)
    statuses: list[int] = []
    refused = threading.Event()

    def client() -> None:
        with httpx.Client(base_url=bed.url, headers=bed.http.headers, trust_env=False) as mine:
            while not refused.is_set():
                try:
                    statuses.append(mine.post("/v1/chat/completions", json=BODY).status_code)
                except httpx.ConnectError:
                    refused.set()

    clients = [threading.Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    time.sleep(0.5)
    drain(bed)
    for thread in clients:
        thread.join(timeout=10)
    assert refused.is_set()
    assert set(statuses) == {200}
