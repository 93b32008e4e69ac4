"""Runs a daemon's HTTP server and its loops together, and tells systemd when it is ready."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from dsops.core.errors import DsopsError
from dsops.node.sources.config import parse_listen


class _Server(uvicorn.Server):
    """Leaves the signals to `serve`, so that the loops are ended in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(
    app: ASGIApp,
    *,
    listen: socket.socket,
    loops: Sequence[Coroutine[Any, Any, None]],
    ready: Callable[[], None],
) -> None:
    """Until SIGTERM or SIGINT. A loop that ends with an exception ends the daemon with it."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        server_header=False,
    )
    server = _Server(config)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    http = asyncio.create_task(server.serve(sockets=[listen]))
    tasks = [http, asyncio.create_task(stop.wait()), *(asyncio.create_task(loop) for loop in loops)]
    ready()
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await asyncio.wait([http], timeout=5)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


def bind(listen: str, *, where: str) -> socket.socket:
    """The listening socket. Raises DsopsError when the address is taken or not ours."""
    host, port = parse_listen(listen, where=where)
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise DsopsError(
            f"cannot listen on {listen} ({error.strerror or error})",
            where=where,
            mend=f"`ss -ltnp 'sport = :{port}'` shows who holds it",
        ) from error


def notify(message: str, *, address: str | None) -> None:
    """sd_notify(3): `READY=1`, `WATCHDOG=1`. address = $NOTIFY_SOCKET, None outside systemd."""
    if not address:
        return
    path = "\0" + address[1:] if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(path)
        sock.send(message.encode())


def main_of(daemon: Callable[[], None]) -> None:
    """A daemon's main: log lines for the journal, expected failures in words and exit 1."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        daemon()
    except DsopsError as error:
        sys.stderr.write(f"error: {error}\n" + (f"  mend: {error.mend}\n" if error.mend else ""))
        sys.exit(1)


def get_notify_address() -> str | None:
    """systemd's socket, taken from the environment: what we start must not speak for us (systemctl does)."""
    return os.environ.pop("NOTIFY_SOCKET", None)
