"""A far-away server, on a kernel without netem: a proxy that lets every byte arrive half a round trip later.

Run as a process of its own: `python -m tests.bench.converge.delay MILLISECONDS PORT=HOST:PORT ...`
"""

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """One direction: what comes now is sent on `delay` seconds later, however much is on its way."""
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def send() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                return
            writer.write(data)
            await writer.drain()

    sender = asyncio.create_task(send())
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            waiting.put_nowait((time.monotonic() + delay, data))
    waiting.put_nowait((time.monotonic() + delay, b""))
    with suppress(OSError):
        await sender
        writer.write_eof()


def make_handler(host: str, port: int, delay: float) -> Handler:
    """Connects each client to the server; the handshake costs a round trip too."""

    async def handle(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay)
        far, forth = await asyncio.open_connection(host, port)
        for writer in (back, forth):
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(carry(near, forth, delay), carry(far, back, delay))
        for writer in (back, forth):
            with suppress(OSError):
                writer.close()

    return handle


async def serve(delay: float, ways: dict[int, tuple[str, int]]) -> None:
    """Listens on every port of `ways`, for ever; says so when it does."""
    for port, (host, target) in ways.items():
        await asyncio.start_server(make_handler(host, target, delay), "127.0.0.1", port)
    print("ready", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """MILLISECONDS are those of a whole round trip."""
    ways = {}
    for word in sys.argv[2:]:
        port, _, target = word.partition("=")
        host, _, number = target.rpartition(":")
        ways[int(port)] = (host, int(number))
    asyncio.run(serve(float(sys.argv[1]) / 2000, ways))


if __name__ == "__main__":
    main()
