"""The load: kept connections that are used again without a look whether they still live, and what each window saw."""

import asyncio
import json
import ssl
import time
from dataclasses import dataclass, field

PATIENCE = 30.0
QUESTION = {"model": "tiny-r1", "messages": [{"role": "user", "content": "What is 2+2?"}], "max_tokens": 1}


@dataclass
class Window:
    """What clients saw. latencies: seconds from when a request was due to the last byte of its answer."""

    name: str
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Milliseconds that `share` of the answers did not exceed; not a number without any."""
        ordered = sorted(self.latencies)
        return 1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


@dataclass(frozen=True)
class Service:
    """Where clients connect. context: None without TLS."""

    host: str
    port: int
    key: str
    context: ssl.SSLContext | None = None


class Clients:
    """Each asks again after the same time, whatever the last answer took; every second one for a stream.

    rate: requests a second of all together. What a stall keeps waiting counts from when it was due.
    """

    def __init__(self, service: Service, *, count: int, rate: float) -> None:
        self._service = service
        self._count = count
        self._gap = count / rate
        self._over = asyncio.Event()
        self.windows = [Window("before")]

    def begin(self, name: str) -> Window:
        """Whoever asks from now on counts there."""
        now = time.monotonic()
        self.windows[-1].seconds = now - self.windows[-1].began
        self.windows.append(Window(name, now))
        return self.windows[-1]

    async def run(self) -> None:
        """Until `stop`; what is under way then is answered first."""
        await asyncio.gather(*(self._work(number) for number in range(self._count)))

    def stop(self) -> None:
        self.begin("after")
        self._over.set()

    async def _work(self, number: int) -> None:
        due = time.monotonic() + self._gap * number / self._count
        while not self._over.is_set():
            try:
                reader, writer = await asyncio.open_connection(
                    self._service.host, self._service.port, ssl=self._service.context
                )
            except OSError as error:
                self.windows[-1].lost.append(f"connect: {error}")
                await asyncio.sleep(self._gap)
                due = time.monotonic()
                continue
            due = await self._ask_on(reader, writer, due=due, streamed=number % 2 == 1)
            writer.close()

    async def _ask_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, due: float, streamed: bool
    ) -> float:
        """One question after the other until one is lost; when the next is due."""
        while not self._over.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            window = self.windows[-1]
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._ask(reader, writer, streamed=streamed)
            except (OSError, ValueError, EOFError, TimeoutError) as error:
                window.lost.append(f"{'stream' if streamed else 'answer'}: {type(error).__name__} {error}")
                return time.monotonic() + self._gap
            window.latencies.append(time.monotonic() - due)
            due += self._gap
        return due

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, streamed: bool) -> None:
        """Raises what the connection raises, and ValueError on any answer that is not a whole and good one."""
        body = json.dumps(QUESTION | {"stream": streamed, "temperature": 0}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self._service.host}\r\n"
        head += f"Authorization: Bearer {self._service.key}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        said = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        whole = await read_body(reader, said)
        if said.split(" ", 2)[1] != "200":
            raise ValueError(f"{said.partition(chr(13))[0]}: {whole[:200]!r}")
        if streamed and not whole.rstrip().endswith(b"data: [DONE]"):
            raise ValueError(f"the stream ended early: {whole[-60:]!r}")


async def read_body(reader: asyncio.StreamReader, head: str) -> bytes:
    """The body that a head in lower case announces, by length or in chunks."""
    if "content-length:" in head:
        return await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
    whole = b""
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        whole += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return whole
