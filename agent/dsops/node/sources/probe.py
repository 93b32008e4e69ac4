"""Asks a model a few tokens on a fresh connection: directly at a slot's Triton, or through the gateway's own socket."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsops.node.sources.http import Failure, Target, find_reason

MAX_BYTES = 1 << 20
GENERATE = "/v2/models/llm/generate_stream"
COMPLETIONS = "/v1/completions"


@dataclass(frozen=True)
class Heard:
    """What came back. text is as far as it came; finish "" when it did not end by itself.

    seconds: until the end; first_seconds, last_seconds: until the first and the last piece of text, None without any.
    status: HTTP's, 0 without one. error: what the other side said in place of an answer. tokens: as the engine
    counts them, 0 when nobody said.
    """

    text: str = ""
    finish: str = ""
    tokens: int = 0
    seconds: float = 0.0
    first_seconds: float | None = None
    last_seconds: float | None = None
    status: int = 0
    failure: Failure = Failure.NONE
    error: str = ""

    @property
    def is_answer(self) -> bool:
        """Whether it came to its end, right or wrong; one that was cancelled or aborted did not."""
        return self.finish in ("stop", "length") and not self.error

    @property
    def says(self) -> str:
        """One short sentence."""
        if self.error:
            has_status = self.status not in (0, 200) and not self.error.startswith("HTTP")
            return f"HTTP {self.status}: {self.error}" if has_status else self.error
        if self.finish and not self.is_answer:
            return f"the answer was {self.finish}"
        return f"{self.text[:60]!r}"


@dataclass
class _Hearing:
    """An answer as it comes."""

    began: float
    parts: list[str] = field(default_factory=list)
    finish: str = ""
    tokens: int = 0
    first: float | None = None
    last: float | None = None
    status: int = 0
    error: str = ""

    def take(self, text: str) -> None:
        if text:
            self.last = time.perf_counter() - self.began
            self.first = self.last if self.first is None else self.first
        self.parts.append(text)

    def end(self, failure: Failure = Failure.NONE, reason: str = "") -> Heard:
        text, seconds = "".join(self.parts), time.perf_counter() - self.began
        error = self.error or reason
        return Heard(text, self.finish, self.tokens, seconds, self.first, self.last, self.status, failure, error)


async def ask_slot(port: int, prompt: str, *, tokens: int, timeout: float, host: str = "127.0.0.1") -> Heard:
    """Triton's `generate_stream` at temperature 0. Never raises but for cancellation."""
    body = {
        "text_input": prompt,
        "stream": True,
        "sampling_parameters": json.dumps({"temperature": 0, "max_tokens": tokens}),
        "return_finish_reason": True,
        "return_num_output_tokens": True,
    }
    return await ask(Target(GENERATE, host=host, port=port), body, timeout=timeout)


async def ask_gateway(socket: Path, prompt: str, *, model: str, tokens: int, timeout: float, slot: str = "") -> Heard:
    """The whole way of a client's request, over the control socket; slot: that one, whatever the lane says."""
    body = {
        "model": model,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {"x-dsops-slot": slot} if slot else {}
    return await ask(Target(COMPLETIONS, socket=socket), body, timeout=timeout, headers=headers)


async def ask(
    target: Target, body: Mapping[str, object], *, timeout: float, headers: Mapping[str, str] | None = None
) -> Heard:
    """One streamed answer within `timeout` seconds in total; what came before it ran out is kept."""
    hearing = _Hearing(time.perf_counter())
    try:
        async with asyncio.timeout(timeout):
            await _listen(target, _render(target, body, headers or {}), hearing)
        return hearing.end()
    except TimeoutError:
        return hearing.end(Failure.TIMEOUT, f"no whole answer in {timeout:g} s")
    except (ConnectionRefusedError, FileNotFoundError):
        return hearing.end(Failure.REFUSED, "connection refused")
    except (asyncio.IncompleteReadError, ConnectionError):
        return hearing.end(Failure.ERROR, "the connection broke before the answer's end")
    except (OSError, ValueError, asyncio.LimitOverrunError) as error:
        return hearing.end(Failure.ERROR, str(error) or type(error).__name__)


def _render(target: Target, body: Mapping[str, object], headers: Mapping[str, str]) -> bytes:
    payload = json.dumps(body).encode()
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.host}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + payload


async def _listen(target: Target, request: bytes, hearing: _Hearing) -> None:
    if target.socket:
        reader, writer = await asyncio.open_unix_connection(str(target.socket))
    else:
        reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        writer.write(request)
        await writer.drain()
        hearing.status, headers = await _read_head(reader)
        pieces = _read_body(reader, headers)
        if hearing.status == 200:
            await _take_events(pieces, hearing)
        else:
            said = b"".join([piece async for piece in pieces])
            # Triton refuses in the form of an event, with the status of a refusal.
            hearing.error = find_reason(said.strip().removeprefix(b"data:")) or f"HTTP {hearing.status}"
    finally:
        writer.close()


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = head[0].split()
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise ValueError("what answers is no HTTP server")
    headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
    return int(words[1]), headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """The body's bytes as they come: chunked, counted, or until the other side closes."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            yield (await reader.readexactly(size + 2))[:-2]
    elif "content-length" in headers:
        yield await reader.readexactly(min(int(headers["content-length"]), MAX_BYTES))
    else:
        while piece := await reader.read(1 << 16):
            yield piece


async def _take_events(pieces: AsyncIterator[bytes], hearing: _Hearing) -> None:
    """Server-sent events up to the answer's end. Raises IncompleteReadError when they stop before it."""
    rest, size = b"", 0
    async for piece in pieces:
        size += len(piece)
        if size > MAX_BYTES:
            raise ValueError("the answer has no end")
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                _take_event(line[5:].strip(), hearing)
    if rest.startswith(b"data:"):
        _take_event(rest[5:].strip(), hearing)
    if not hearing.finish and not hearing.error:
        raise asyncio.IncompleteReadError(b"", None)


def _take_event(data: bytes, hearing: _Hearing) -> None:
    if data == b"[DONE]":
        return
    event = json.loads(data)
    if not isinstance(event, dict):
        hearing.error = "what answers does not speak as an engine does"
    elif "error" in event:
        hearing.error = find_reason(data) or "an error without words"
    elif "choices" in event:
        _take_completion(event, hearing)
    else:
        _take_tensors(event, hearing)


def _take_tensors(event: Mapping[str, Any], hearing: _Hearing) -> None:
    """Triton's outputs of one message; `finish_reason` is the word None before the last one."""
    hearing.take(str(event.get("text_output", "")))
    tokens = event.get("num_output_tokens")
    hearing.tokens += tokens if type(tokens) is int else 0
    finish = event.get("finish_reason")
    if finish not in (None, "", "None"):
        hearing.finish = str(finish)


def _take_completion(event: Mapping[str, Any], hearing: _Hearing) -> None:
    for choice in event["choices"] or ():
        hearing.take(str(choice.get("text") or ""))
        hearing.finish = str(choice.get("finish_reason") or hearing.finish)
    if usage := event.get("usage"):
        hearing.tokens = int(usage.get("completion_tokens") or 0)
