"""A slot's Triton and a gateway on real sockets, that do what a test says; the answers are those of `releases`."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, TypeVar

from tests.node.agent.releases import QUESTIONS
from tests.node.sources.talker import END, HEAD, chunk, event

ANSWERS = dict(QUESTIONS.values())


@dataclass
class FakeNode:
    """mode: right, wrong, hung. ready: of Triton. gateway_says: an error instead of answers, with its status.

    counted: tokens that the engine says an answer had. in_flight: what the gateway says, one look after the other.
    """

    mode: str = "right"
    ready: bool = True
    gateway_says: tuple[int, str] | None = None
    ejected: dict[str, str] | None = None
    drained: dict[str, str] | None = None
    asked: list[str] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    tokens: int = 0
    counted: int = 0
    in_flight: Iterator[int] = field(default_factory=lambda: repeat(0))
    port: int = 0
    socket: Path | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.lower().splitlines()
            length = next((int(x.split(":")[1]) for x in lines if x.startswith("content-length")), 0)
            body = json.loads(await reader.readexactly(length) or b"{}")
            path = head.split()[1]
            self.asked.append(path)
            self.headers += lines
            await self.answer(writer, path, body)
            await writer.drain()
        writer.close()

    async def answer(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any]) -> None:
        if path == "/v2/models/llm/generate_stream":
            await self.generate(writer, body["text_input"], lambda text, finish: {"text_output": text} | finish)
        elif path == "/v1/completions" and self.gateway_says:
            status, message = self.gateway_says
            self.plain(writer, {"error": {"message": message}}, status=status)
        elif path == "/v1/completions":
            await self.generate(writer, body["prompt"], lambda text, finish: {"choices": [{"text": text} | finish]})
        elif path.startswith("/v2/health"):
            self.plain(writer, {}, status=200 if self.ready else 400)
        elif path == "/metrics":
            lines = (f"dsops_engine_generated_tokens_total {self.tokens}", "dsops_engine_running 0")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + "\n".join((*lines, "")).encode())
        elif path == "/eject":
            self.ejected = body
            self.plain(writer, {"ejected": True})
        elif path == "/admit":
            self.ejected = None
            self.plain(writer, {"ejected": False})
        else:
            slots = {"a": {"in_flight": 0, "tokens": self.tokens, "idle_seconds": None}}
            in_flight = next(self.in_flight)
            said = {"drained": self.drained, "ejected": self.ejected, "in_flight": in_flight, "slots": slots}
            self.plain(writer, said)

    def plain(self, writer: asyncio.StreamWriter, body: object, *, status: int = 200) -> None:
        data = json.dumps(body).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(data), data))

    async def generate(self, writer: asyncio.StreamWriter, prompt: str, render: Any) -> None:
        if self.mode == "hung":
            await asyncio.sleep(60)
        self.tokens += 2
        text = ANSWERS[prompt] if self.mode == "right" else "rubbish"
        end = {"finish_reason": "stop"} | ({"num_output_tokens": self.counted} if self.counted else {})
        first, last = event(**render(text[:1], {})), event(**render(text[1:], end))
        writer.write(HEAD + chunk(first) + chunk(last) + END)


N = TypeVar("N", bound=FakeNode)


@asynccontextmanager
async def run_node(
    folder: Path, *, has_gateway: bool = True, make: type[N] = FakeNode, **changes: Any
) -> AsyncIterator[N]:
    """Both servers, on a free port and on folder/gateway.sock."""
    node = make(**changes)
    triton = await asyncio.start_server(node.serve, host="127.0.0.1", port=0)
    node.port = triton.sockets[0].getsockname()[1]
    servers = [triton]
    if has_gateway:
        node.socket = folder / "gateway.sock"
        servers.append(await asyncio.start_unix_server(node.serve, path=str(node.socket)))
    try:
        yield node
    finally:
        for server in servers:
            server.close()
