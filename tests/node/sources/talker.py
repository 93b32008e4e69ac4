"""A server on loopback or a unix socket that says what a script tells it, pauses and hangs up included."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

Step = bytes | float
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@dataclass
class Talker:
    """Scripts are played one per connection, the last one for ever. asked: (head, body) of each request."""

    scripts: list[Sequence[Step]]
    asked: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    port: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(x.split(":")[1]) for x in head.lower().splitlines() if x.startswith("content-length"))
        self.asked.append((head, json.loads(await reader.readexactly(length) or b"{}")))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        try:
            for step in script:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    writer.write(step)
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def talk(*scripts: Sequence[Step], socket: Path | None = None) -> AsyncIterator[Talker]:
    talker = Talker(list(scripts))
    if socket:
        server = await asyncio.start_unix_server(talker.answer, path=str(socket))
    else:
        server = await asyncio.start_server(talker.answer, host="127.0.0.1", port=0)
        talker.port = server.sockets[0].getsockname()[1]
    try:
        yield talker
    finally:
        server.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(**fields: object) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(fields, ensure_ascii=False).encode() + b"\n\n"


def said(*texts: str, finish: str = "stop") -> list[Step]:
    """A whole answer of Triton's, one token a message."""
    events = [event(text_output=text, finish_reason="None", num_output_tokens=1) for text in texts]
    return [HEAD, *map(chunk, events), chunk(event(text_output="", finish_reason=finish, num_output_tokens=0)), END]


def plain(status: int, **body: object) -> list[Step]:
    """A whole answer without a stream."""
    data = json.dumps(body).encode()
    return [b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(data), data)]
