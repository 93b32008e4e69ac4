"""One HTTP GET or POST on a fresh connection within a deadline; every failure is an answer."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

MAX_BYTES = 8 << 20


class Failure(StrEnum):
    """Why there is no HTTP answer."""

    NONE = ""
    REFUSED = "refused"
    TIMEOUT = "timeout"
    ERROR = "error"


@dataclass(frozen=True)
class Answer:
    """status 0 and a failure when nothing came back. seconds = from connecting to the last byte."""

    status: int
    body: bytes = b""
    seconds: float = 0.0
    failure: Failure = Failure.NONE
    reason: str = ""

    @property
    def is_ok(self) -> bool:
        return self.status == 200

    @property
    def says(self) -> str:
        """The reason in one short sentence: of the failure, or of a body that carries one."""
        if self.failure:
            return self.reason
        return find_reason(self.body) or f"HTTP {self.status}"


@dataclass(frozen=True)
class Target:
    """Where to ask: TCP host and port, or a unix socket's path."""

    path: str
    host: str = "127.0.0.1"
    port: int = 0
    socket: Path | None = None


async def get(target: Target, *, timeout: float) -> Answer:
    """GET within `timeout` seconds in total."""
    return await fetch(target, timeout=timeout)


async def fetch(
    target: Target, *, timeout: float, method: str = "GET", body: Mapping[str, object] | None = None
) -> Answer:
    """One request; `body` goes out as JSON. Never raises but for cancellation."""
    start = time.perf_counter()
    payload = json.dumps(body).encode() if body is not None else b""
    head = (
        f"{method} {target.path} HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    try:
        async with asyncio.timeout(timeout):
            status, answer = await _talk(target, head.encode() + payload)
        return Answer(status, answer, time.perf_counter() - start)
    except TimeoutError:
        failure, reason = Failure.TIMEOUT, f"no answer in {timeout:g} s"
    except (ConnectionRefusedError, FileNotFoundError):
        failure, reason = Failure.REFUSED, "connection refused"
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        failure, reason = Failure.ERROR, str(error) or type(error).__name__
    return Answer(0, b"", time.perf_counter() - start, failure, reason)


async def _talk(target: Target, request: bytes) -> tuple[int, bytes]:
    if target.socket:
        reader, writer = await asyncio.open_unix_connection(str(target.socket))
    else:
        reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(request)
        await writer.drain()
        return parse_response(await _read_all(reader))
    finally:
        writer.close()


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := await reader.read(1 << 16):
        parts.append(chunk)
        size += len(chunk)
        if size > MAX_BYTES:
            raise ValueError(f"the answer is larger than {MAX_BYTES >> 20} MiB")
    return b"".join(parts)


def parse_response(raw: bytes) -> tuple[int, bytes]:
    """A whole HTTP/1.1 response to (status, body). Raises ValueError when it is none, or was cut."""
    head, found, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    words = lines[0].split()
    if not found or len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError("the connection closed without an HTTP answer")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(b":") for line in lines[1:])}
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return int(words[1]), _join_chunks(body)
    length = headers.get(b"content-length")
    if length is not None and len(body) < int(length):
        raise ValueError("the answer was cut")
    return int(words[1]), body


def _join_chunks(body: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        size, found, rest = body.partition(b"\r\n")
        if not found:
            raise ValueError("the answer was cut")
        count = int(size.split(b";")[0], 16)
        if count == 0:
            return b"".join(parts)
        parts.append(rest[:count])
        body = rest[count + 2 :]


def find_reason(body: bytes) -> str:
    """`reason` (or OpenAI's error message) of a JSON body, "" when it has none."""
    try:
        data = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(data, dict):
        return ""
    error = data.get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return str(data.get("reason") or message or "")
