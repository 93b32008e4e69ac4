"""Reading the fleet over HTTP: all at once, and a dead server delays nobody."""

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from dsops.control.fleet.http import read_status
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.view import read_fleet, summarize
from dsops.core.errors import DsopsError
from dsops.core.status import VERSION

from tests.core.test_status import make_status
from tests.node.sources.server import Canned, serve
from tests.ports import find_free_port


def make_server(name: str, port: int = 9410, **data: Any) -> Server:
    return Server(name, ("gpu",), {"ssh_hostname": "127.0.0.1", "dsops_agent_port": port, **data}, f"f:1: {name}")


def good() -> Canned:
    return Canned({"/v1/status": (200, make_status().to_json().encode())})


def test_the_answers_keep_the_servers_order() -> None:
    def slow(server: Server) -> str:
        time.sleep(0.05 if server.name == "a" else 0)
        return server.name

    assert [o.value for o in ask_all([make_server(n) for n in "abc"], slow, deadline=2)] == ["a", "b", "c"]


def test_two_hundred_servers_are_asked_at_once() -> None:
    servers = [make_server(f"gpu{n}") for n in range(200)]
    start = time.perf_counter()
    outcomes = ask_all(servers, lambda _: time.sleep(0.2), deadline=30)
    assert time.perf_counter() - start < 20, "one after another they take 40 s"
    assert all(o.error is None for o in outcomes)


def test_a_dead_server_does_not_delay_beyond_the_deadline() -> None:
    end = threading.Event()
    start = time.perf_counter()
    outcomes = ask_all(
        [make_server("dead"), make_server("fine")],
        lambda s: end.wait(30) if s.name == "dead" else None,
        deadline=1,
    )
    assert time.perf_counter() - start < 10
    end.set()
    assert [o.reason for o in outcomes] == ["no answer in 1 s", ""]


def test_a_bug_is_not_taken_for_a_dead_server() -> None:
    def bug(_: Server) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_all([make_server("a")], bug, deadline=1)


def test_the_fleet_is_read_with_each_failure_in_its_words() -> None:
    refused = find_free_port()
    strange = Canned({"/v1/status": (200, b"<html>")})
    old = Canned({"/v1/status": (200, b'{"version": 7}')})
    silent = Canned({"/v1/status": (200, b"late")}, delay=30)
    canned = [serve(c) for c in (good(), strange, old, Canned(), silent)]
    ports = [c.__enter__().port for c in canned]
    names = ("good", "strange", "old", "other", "silent")
    servers = (
        make_server("refused", refused),
        *(make_server(n, p) for n, p in zip(names, ports, strict=True)),
    )
    fleet = Fleet(Path("/x/inventory/lab.py"), Path("/x"), servers, {})
    start = time.perf_counter()
    seen: list[Outcome[Any]] = read_fleet(fleet, timeout=3)
    assert time.perf_counter() - start < 15
    for one in canned:
        one.__exit__(None, None, None)
    reasons = {o.server.name: o.reason for o in seen}
    assert reasons["good"] == ""
    assert reasons["refused"] == "connection refused: nothing listens there"
    assert "is not JSON" in reasons["strange"]
    assert f"status version 7 is not {VERSION}" in reasons["old"]
    assert reasons["other"] == "HTTP 404"
    assert reasons["silent"] == "no answer in time"
    assert summarize(seen).startswith("6 servers: 5 unreachable, 1 ok.")


def test_an_address_that_is_none_is_said() -> None:
    with pytest.raises(DsopsError) as caught:
        read_status(make_server("x", ssh_hostname="no-such-host.invalid"), timeout=1)
    assert caught.value.where == "no-such-host.invalid:9410"


def test_a_peer_that_speaks_no_http_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def babble() -> None:
            peer, _ = listener.accept()
            peer.sendall(b"SSH-2.0-x\r\n")
            peer.close()

        threading.Thread(target=babble, daemon=True).start()
        with pytest.raises(DsopsError, match=r"no proper HTTP answer|reset"):
            read_status(make_server("x", listener.getsockname()[1]), timeout=1)
