"""A listening socket that can be closed and opened again while its connections go on."""

import asyncio
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from uvicorn.config import Config as UvicornConfig
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from dsops.core.errors import DsopsError
from dsops.node.gateway.config import Address
from dsops.node.gateway.errors import ApiError

_BACKLOG = 2048


class _Protocol(HttpToolsProtocol):
    def close_when_idle_for(self, seconds: float) -> None:
        """From now on; a request that comes in time is still answered."""
        self.timeout_keep_alive = seconds  # type: ignore[assignment]
        if self.cycle is None or self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        body = ApiError(400, msg, code="invalid_http").render()
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()


class Listener:
    """Serves an ASGI app with uvicorn's protocol; uvicorn's own server cannot reopen a socket."""

    def __init__(self, app: Any, *, keep_alive: float) -> None:
        self._config = UvicornConfig(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=int(keep_alive),
        )
        self._config.load()
        self._keep_alive = keep_alive
        self._connections: set[_Protocol] = set()
        self._state = ServerState()
        self._state.connections = self._connections  # type: ignore[assignment]
        self._server: asyncio.Server | None = None
        self._accepting: set[asyncio.Task[object]] = set()

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """The requests being answered now."""
        return self._state.tasks

    @property
    def has_connections(self) -> bool:
        return bool(self._connections)

    async def open(self, door: socket.socket) -> None:
        """Listens on a bound socket."""
        self._close_when_idle_for(self._keep_alive)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._make_protocol, sock=door, backlog=_BACKLOG)

    def close(self, *, linger: float = 0.0) -> None:
        """New connections are refused from now on; those that are there end once idle for `linger` seconds.

        A request may be on its way on a kept-alive connection right now: closing at once would lose it.
        """
        self._close_when_idle_for(linger)
        if self._server is not None:
            self._accept_waiting(self._server)
            self._server.close()
            self._server = None

    def end_connections(self) -> None:
        """Closes idle connections now and the others after their answer."""
        for connection in list(self._connections):
            connection.shutdown()

    def _accept_waiting(self, server: asyncio.Server) -> None:
        """Takes what the kernel has connected already: it would be reset, and a request that was sent be lost."""
        loop = asyncio.get_running_loop()
        for door in server.sockets:
            with door.dup() as twin, suppress(OSError):
                while True:
                    connection, _ = twin.accept()  # nothing waits any more: BlockingIOError
                    connection.setblocking(False)
                    task = loop.create_task(loop.connect_accepted_socket(self._make_protocol, connection))
                    self._accepting.add(task)
                    task.add_done_callback(self._accepting.discard)

    def _close_when_idle_for(self, seconds: float) -> None:
        for connection in list(self._connections):
            connection.close_when_idle_for(seconds)

    def _make_protocol(self) -> asyncio.Protocol:
        return _Protocol(config=self._config, server_state=self._state, app_state={})


def bind_tcp(address: Address, *, key: str) -> socket.socket:
    """A bound TCP socket; raises DsopsError naming the configuration's key."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((address.host, address.port))
    except OSError as error:
        door.close()
        mend = f"see who holds it: ss -ltnp 'sport = :{address.port}'"
        raise DsopsError(f"cannot listen on {address} ({error.strerror})", where=key, mend=mend) from error
    return door


def bind_unix(path: Path) -> socket.socket:
    """A bound unix socket with mode 0660; a socket that a killed gateway left is removed."""
    _remove_stale(path)
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.bind(str(path))
        path.chmod(0o660)
    except OSError as error:
        door.close()
        mend = f"is there a folder {path.parent} that this user may write?"
        raise DsopsError(f"cannot be created ({error.strerror})", where=str(path), mend=mend) from error
    return door


def _remove_stale(path: Path) -> None:
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise DsopsError("another gateway listens here", where=str(path), mend="stop it first")
