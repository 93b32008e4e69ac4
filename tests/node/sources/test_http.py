"""One GET: every way to fail is an answer that says so."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from dsops.node.sources.http import Answer, Failure, Target, fetch, find_reason, get, parse_response

from tests.node.sources.server import Canned, serve
from tests.ports import find_free_port

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def ask(port: int, *, timeout: float = 1.0) -> Answer:
    return asyncio.run(get(Target("/x", port=port), timeout=timeout))


async def ask_peer(peer: Peer, *, timeout: float = 1.0) -> Answer:
    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with server:
        return await get(Target("/", port=server.sockets[0].getsockname()[1]), timeout=timeout)


def test_a_body_comes_back_with_its_time() -> None:
    with serve(Canned({"/x": (200, b"hello")})) as canned:
        answer = ask(canned.port)
    assert (answer.status, answer.body, answer.failure) == (200, b"hello", Failure.NONE)
    assert answer.is_ok
    assert 0 < answer.seconds < 1


def test_a_post_carries_its_body() -> None:
    with serve(Canned({"/drain": (200, b"{}")})) as canned:
        target = Target("/drain", port=canned.port)
        asyncio.run(fetch(target, timeout=1, method="POST", body={"reason": "fan"}))
    assert canned.asked == [("POST", "/drain", b'{"reason": "fan"}')]


def test_nobody_listening_is_refused() -> None:
    port = find_free_port()
    assert ask(port).failure is Failure.REFUSED


def test_a_missing_socket_is_refused(tmp_path: Path) -> None:
    answer = asyncio.run(get(Target("/", socket=tmp_path / "none.sock"), timeout=1))
    assert (answer.failure, answer.says) == (Failure.REFUSED, "connection refused")


def test_silence_ends_at_the_deadline() -> None:
    with serve(Canned({"/x": (200, b"late")}, delay=1.0)) as canned:
        start = time.perf_counter()
        answer = ask(canned.port, timeout=0.1)
        assert time.perf_counter() - start < 0.5
    assert (answer.failure, answer.says) == (Failure.TIMEOUT, "no answer in 0.1 s")


def test_one_byte_at_a_time_ends_at_the_deadline_too() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _i in range(100):
            writer.write(b"H")
            await asyncio.sleep(0.05)

    assert asyncio.run(ask_peer(drip, timeout=0.2)).failure is Failure.TIMEOUT


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhal",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 two OK\r\n\r\n",
    ],
)
def test_what_is_no_whole_http_answer_is_an_error(raw: bytes) -> None:
    async def say(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        writer.close()

    answer = asyncio.run(ask_peer(say))
    assert (answer.status, answer.failure) == (0, Failure.ERROR)
    assert answer.says


def test_chunks_are_joined() -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert parse_response(raw) == (200, b"abcde")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"reason": "drained"}', "drained"),
        (b'{"error": {"message": "busy"}}', "busy"),
        (b'{"error": "plain"}', "plain"),
        (b"[]", ""),
        (b"<html>", ""),
    ],
)
def test_a_refusal_says_its_reason(body: bytes, reason: str) -> None:
    assert find_reason(body) == reason
    assert Answer(503, body).says == (reason or "HTTP 503")
