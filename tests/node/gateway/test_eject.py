"""The agent's doors: eject and admit, its own questions past the closed door, and what tells busy from stuck."""

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.node.gateway.bed import KEY, Bed, events, wait_for
from tests.node.gateway.test_door import BODY, drain, is_refused
from tests.node.gateway.test_failures import start_triton
from tests.ports import find_free_port

MakeBed = Callable[..., Bed]
ASK = {"model": "tiny-r1", "prompt": "{who}", "max_tokens": 16, "temperature": 0, "stream": True}


def eject(bed: Bed, reason: str = "three strikes") -> dict[str, Any]:
    return bed.place.control("POST", "/eject", {"reason": reason, "who": "dsops-agent"})


def admit(bed: Bed) -> dict[str, Any]:
    return bed.place.control("POST", "/admit", {"who": "dsops-agent"})


def status(bed: Bed) -> dict[str, Any]:
    return bed.place.control("GET", "/status")


def health(bed: Bed) -> tuple[int, str]:
    answer = httpx.get(bed.admin + "/healthz", trust_env=False)
    return answer.status_code, answer.json()["phase"]


def probe(bed: Bed, prompt: str = "{who}", *, tokens: int = 16, **headers: str) -> tuple[int, str]:
    """A question on the control socket; status, and the whole text of the answer."""
    connection = http.client.HTTPConnection("local", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.connect(str(bed.place.socket))
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {**ASK, "prompt": prompt, "max_tokens": tokens}
    connection.request("POST", "/v1/completions", json.dumps(body), fields)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.status != 200:
        return answer.status, json.loads(text)["error"]["code"]
    return 200, "".join(event["choices"][0]["text"] for event in events(text) if event != "[DONE]")


# --- eject and admit ---


def test_an_ejected_gateway_refuses_at_once_and_says_why(make_bed: MakeBed) -> None:
    bed = make_bed()
    began = time.monotonic()
    assert eject(bed) == {"ejected": True, "in_flight": 0}
    assert is_refused(bed)
    assert time.monotonic() - began < 1
    answer = httpx.get(bed.admin + "/healthz", trust_env=False)
    assert (answer.status_code, answer.json()["phase"]) == (503, "ejected")
    assert answer.json()["reason"] == "ejected by dsops-agent: three strikes"
    told = status(bed)
    assert (told["ejected"]["reason"], told["ejected"]["who"]) == ("three strikes", "dsops-agent")
    assert abs(told["ejected"]["since"] - time.time()) < 5
    assert (told["drained"], told["phase"]) == (None, "ejected")
    assert "dsops_gateway_ejected 1.0" in bed.metrics()


def test_an_admitted_gateway_serves_again(make_bed: MakeBed) -> None:
    bed = make_bed()
    eject(bed)
    assert admit(bed) == {"ejected": False, "in_flight": 0}
    assert bed.chat("hi").status_code == 200
    assert (health(bed), status(bed)["ejected"]) == ((200, "serving"), None)
    assert "dsops_gateway_ejected 0.0" in bed.metrics()
    assert admit(bed)["ejected"] is False  # twice is once


def test_kept_connections_are_told_to_go_elsewhere(make_bed: MakeBed) -> None:
    bed = make_bed(drain_linger=1)
    connection = http.client.HTTPConnection("127.0.0.1", bed.place.port)
    headers = {"authorization": f"Bearer {KEY}"}
    connection.request("GET", "/v1/models", headers=headers)
    assert connection.getresponse().read()
    eject(bed)
    connection.request("POST", "/v1/chat/completions", json.dumps(BODY), headers)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("connection")) == (503, "close")
    assert answer.getheader("retry-after") == "1"
    assert json.loads(answer.read())["error"]["code"] == "ejected"
    assert 'dsops_gateway_rejected_total{reason="ejected"} 1.0' in bed.metrics()


def test_what_is_in_flight_goes_on_through_an_ejection(make_bed: MakeBed) -> None:
    bed = make_bed()
    body = {**BODY, "stream": True, "messages": [{"role": "user", "content": "{slow:60}"}]}
    with bed.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert eject(bed)["in_flight"] == 1
        assert events("\n".join(lines))[-1] == "[DONE]"


def test_a_second_ejection_keeps_the_time_of_the_first_and_takes_the_new_reason(make_bed: MakeBed) -> None:
    bed = make_bed()
    eject(bed)
    since = status(bed)["ejected"]["since"]
    time.sleep(0.05)
    eject(bed, "it died")
    assert status(bed)["ejected"] == {"reason": "it died", "who": "dsops-agent", "since": since}


def test_an_ejection_does_not_outlive_the_gateway(make_bed: MakeBed) -> None:
    bed = make_bed()
    eject(bed)
    bed.restart()
    assert bed.chat("hi").status_code == 200


@pytest.mark.parametrize("first", ["drain", "eject"])
@pytest.mark.parametrize("ends", [("undrain", "admit"), ("admit", "undrain")])
def test_drained_and_ejected_the_door_opens_only_when_both_have_ended(
    make_bed: MakeBed, first: str, ends: tuple[str, str]
) -> None:
    bed = make_bed()
    starts: list[Callable[[Bed], object]] = [drain, eject] if first == "drain" else [eject, drain]
    for start in starts:
        start(bed)
    assert health(bed) == (503, "drained")
    bed.place.control("POST", f"/{ends[0]}")
    assert is_refused(bed)
    assert health(bed) == (503, "ejected" if ends[0] == "undrain" else "drained")
    bed.place.control("POST", f"/{ends[1]}")
    assert bed.chat("hi").status_code == 200


def test_undrained_while_ejected_kept_connections_are_still_refused(make_bed: MakeBed) -> None:
    bed = make_bed(drain_linger=2)
    assert bed.chat("hi").status_code == 200
    drain(bed)
    eject(bed)
    bed.place.control("POST", "/undrain")
    assert bed.chat("hi").json()["error"]["code"] == "ejected"


def test_admitted_while_drained_kept_connections_are_served_as_a_drain_serves_them(make_bed: MakeBed) -> None:
    bed = make_bed(drain_linger=2)
    assert bed.chat("hi").status_code == 200
    drain(bed)
    eject(bed)
    admit(bed)
    assert bed.chat("hi").status_code == 200


def test_admit_while_another_holds_the_port_says_so_and_stays_ejected(make_bed: MakeBed) -> None:
    bed = make_bed()
    eject(bed)
    with socket.socket() as other:
        other.bind(("127.0.0.1", bed.place.port))
        other.listen()
        assert admit(bed)["error"]["code"] == "cannot_listen"
        assert status(bed)["ejected"]
    assert admit(bed)["ejected"] is False
    assert bed.chat("hi").status_code == 200


@pytest.mark.parametrize("path", ["/eject", "/admit"])
def test_a_wish_that_is_none_is_refused_with_what_it_should_be(make_bed: MakeBed, path: str) -> None:
    bed = make_bed()
    assert '"who": text' in bed.place.control("POST", path, {"whom": "me"})["error"]["message"]
    assert '"who": text' in bed.place.control("POST", path, {"who": 1})["error"]["message"]
    assert '"who": text' in bed.place.control("POST", path, [])["error"]["message"]
    assert status(bed)["ejected"] is None


def test_many_ejections_and_admissions_at_once_leave_the_door_as_the_last_said(make_bed: MakeBed) -> None:
    bed = make_bed()
    for _ in range(20):
        threads = [threading.Thread(target=act, args=(bed,)) for act in (eject, admit, eject, admit)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert is_refused(bed) == bool(status(bed)["ejected"])
    admit(bed)
    assert not is_refused(bed)


# --- the agent's questions ---


def test_the_control_socket_answers_without_a_key_while_the_door_is_closed(make_bed: MakeBed) -> None:
    bed = make_bed()
    assert probe(bed) == (200, "</think>a")
    eject(bed)
    assert probe(bed) == (200, "</think>a")
    drain(bed, refuse=True)
    assert probe(bed) == (200, "</think>a")


def test_a_probe_goes_the_way_of_its_lane_or_to_the_slot_that_it_names(make_bed: MakeBed) -> None:
    bed = make_bed()
    bed.place.switch("l4", "b")
    assert probe(bed, x_dsops_lane="l4") == (200, "</think>b")
    assert probe(bed, x_dsops_slot="b") == (200, "</think>b")
    assert probe(bed, x_dsops_slot="a", x_dsops_lane="l4") == (200, "</think>a")
    assert probe(bed, x_dsops_slot="c") == (503, "not_ready")


def test_a_probe_reaches_a_slot_although_no_lane_leads_anywhere(make_bed: MakeBed) -> None:
    bed = make_bed()
    for lane in (bed.place.root / "lanes").iterdir():
        lane.unlink()
    assert probe(bed, x_dsops_slot="b") == (200, "</think>b")


def test_chat_works_there_too_and_clients_cannot_name_a_slot(make_bed: MakeBed) -> None:
    bed = make_bed()
    answer = bed.place.control("POST", "/v1/chat/completions", BODY)
    assert answer["choices"][0]["message"]["content"] == "a"
    told = bed.chat("{who}", headers={"x-dsops-slot": "b"}).json()
    assert told["choices"][0]["message"]["content"] == "a"


def test_probes_are_not_clients_in_any_figure(make_bed: MakeBed) -> None:
    bed = make_bed()
    for _ in range(3):
        probe(bed)
    told = status(bed)
    assert (told["p50_seconds"], told["tokens_per_second"], told["in_flight"]) == (None, 0.0, 0)
    page = bed.metrics()
    assert 'dsops_gateway_requests_total{code="200",lane="",release="",route="probe"} 3.0' in page
    assert "dsops_gateway_request_seconds_count" not in page
    assert "dsops_gateway_generated_tokens_total{" not in page


def test_a_probe_has_its_place_when_clients_have_taken_all(make_bed: MakeBed) -> None:
    bed = make_bed(max_in_flight=1, first_token_timeout=10, deadline=10)
    thread = threading.Thread(target=bed.chat, args=("{slow:100}",))
    thread.start()
    wait_for(lambda: status(bed)["in_flight"] == 1)
    assert bed.chat("hi").status_code == 429
    assert probe(bed) == (200, "</think>a")
    assert status(bed)["in_flight"] == 1
    thread.join()


def test_a_probe_of_an_engine_that_is_gone_or_stuck_says_so(make_bed: MakeBed) -> None:
    bed = make_bed(first_token_timeout=2)
    assert probe(bed, "{stall}") == (504, "deadline_exceeded")
    bed.stop_slot("a")
    assert probe(bed) == (503, "not_ready")


# --- what tells busy from stuck ---


@pytest.mark.slow
def test_the_status_counts_by_slot_who_waits_and_what_came(make_bed: MakeBed) -> None:
    bed = make_bed(first_token_timeout=10, token_timeout=10)
    slots = status(bed)["slots"]
    assert [slots["a"][key] for key in ("in_flight", "tokens", "idle_seconds")] == [0, 0, None]
    assert bed.chat("{say:abc}").status_code == 200
    assert status(bed)["slots"]["a"]["tokens"] == 3
    thread = threading.Thread(target=bed.chat, args=("{stall:later}",), kwargs={"stream": True})
    thread.start()
    wait_for(lambda: status(bed)["slots"]["a"]["tokens"] == 4)
    time.sleep(0.3)
    told = status(bed)["slots"]
    assert (told["a"]["in_flight"], told["b"]["in_flight"]) == (1, 0)
    assert 0.25 < told["a"]["idle_seconds"] < 2
    thread.join()
    wait_for(lambda: status(bed)["slots"]["a"]["in_flight"] == 0)
    assert status(bed)["slots"]["a"]["idle_seconds"] is None


@pytest.mark.slow
def test_others_that_move_end_the_idle_time_of_a_slot(make_bed: MakeBed) -> None:
    bed = make_bed(first_token_timeout=10, deadline=10)
    thread = threading.Thread(target=bed.chat, args=("{stall}",), kwargs={"stream": True})
    thread.start()

    def idle() -> Any:
        return status(bed)["slots"]["a"]["idle_seconds"]

    wait_for(lambda: (idle() or 0) > 0.3)
    began = time.monotonic()
    probe(bed)
    assert idle() <= time.monotonic() - began
    thread.join()


def test_a_client_that_does_not_read_waits_for_nobody(make_bed: MakeBed) -> None:
    """Else one slow reader would make a well engine look hung."""
    bed = make_bed(token_timeout=10, deadline=10)
    body = {"model": "tiny-r1", "messages": [{"role": "user", "content": "{flood:400}"}], "stream": True}
    with bed.http.stream("POST", "/v1/chat/completions", json=body):
        wait_for(lambda: status(bed)["in_flight"] == 1)
        wait_for(lambda: status(bed)["slots"]["a"]["in_flight"] == 0)
        time.sleep(0.5)
        told = status(bed)
        assert (told["in_flight"], told["slots"]["a"]["in_flight"]) == (1, 0)
        assert told["slots"]["a"]["idle_seconds"] is None


def test_a_dead_engine_is_unwell_at_once_though_it_was_ready_a_moment_ago(make_bed: MakeBed) -> None:
    port = find_free_port()
    with start_triton(port) as triton:
        bed = make_bed()
        bed.place.write_config({"a": port})
        bed.restart()
        took = []
        wait_for(lambda: health(bed) == (200, "serving"))
        triton.kill()
        triton.wait()
        began = time.monotonic()
        while health(bed) == (200, "serving"):
            took.append(time.monotonic() - began)
        assert time.monotonic() - began < 1, took


def test_a_request_that_lost_its_engine_makes_the_next_question_a_fresh_one(make_bed: MakeBed) -> None:
    port = find_free_port()
    with start_triton(port):
        bed = make_bed()
        bed.place.write_config({"a": port})
        bed.restart()
        wait_for(lambda: health(bed) == (200, "serving"))
        assert bed.chat("{die}").status_code == 503
        assert health(bed) == (503, "stopped")


def test_the_status_does_not_wait_for_an_engine_that_does_not_answer(make_bed: MakeBed) -> None:
    """It is wanted most just then."""
    bed = make_bed()
    bed.a.ready_delay = bed.b.ready_delay = 30
    for _ in range(5):
        began = time.monotonic()
        told = status(bed)
        assert time.monotonic() - began < 2
        assert (told["phase"], told["slots"]["a"]["phase"]) == ("unknown", "unknown")
    eject(bed)
    bed.a.ready_delay = bed.b.ready_delay = 0
    wait_for(lambda: status(bed)["slots"]["a"]["phase"] == "serving")


@pytest.mark.slow
def test_a_stopped_engine_is_seen_by_who_waits_for_it(make_bed: MakeBed) -> None:
    """SIGSTOP: no connection breaks, nobody answers; only the time that goes by tells."""
    port = find_free_port()
    with start_triton(port) as triton:
        bed = make_bed(first_token_timeout=10, deadline=10)
        bed.place.write_config({"a": port}, first_token_timeout=2, deadline=3)
        bed.restart()
        assert bed.chat("{who}").status_code == 200
        os.kill(triton.pid, signal.SIGSTOP)
        thread = threading.Thread(target=bed.chat, args=("{who}",))
        thread.start()
        wait_for(lambda: (status(bed)["slots"]["a"]["idle_seconds"] or 0) > 0.5)
        assert status(bed)["slots"]["a"]["in_flight"] == 1
        assert eject(bed)["ejected"]
        thread.join()
        os.kill(triton.pid, signal.SIGCONT)
        triton.kill()
