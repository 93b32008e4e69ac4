"""One HTTP request and the answer to it: what its headers say, and how responses leave."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from dsops.node.gateway.config import LANES, STABLE_LANE
from dsops.node.gateway.errors import ApiError
from dsops.node.gateway.http import Receive, Scope, Send, make_request_id, read_body, send_whole, swallow_body

_SSE = b"text/event-stream; charset=utf-8"
CLIENT_LEFT = 499


class Exchange:
    """A request under way. `release`, `lane` and `status` are filled in as they become known.

    asks_text: whether a release was asked to write.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, closing: Callable[[], bool]) -> None:
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.key = ""
        self.lane = STABLE_LANE
        self.release = ""
        self.status = 0
        self.asks_text = False
        self.started = False
        self.client_left = False
        self._scope = scope
        self._receive = receive
        self._send = send
        self._closing = closing
        self._refused = 0
        self._is_sending = False
        self._length: int | None = None
        self._body_read = False
        request_id = ""
        for name, value in scope["headers"]:
            if name == b"authorization":
                self.key = _read_bearer(value)
            elif name == b"x-request-id":
                request_id = value.decode("latin-1")
            elif name == b"x-dsops-lane":
                lane = value.decode("latin-1")
                self.lane = lane if lane in LANES else STABLE_LANE
            elif name == b"content-length":
                self._length = int(value) if value.isdigit() else None
        self.request_id = make_request_id(request_id)

    def get_header(self, wanted: bytes) -> str:
        """A header that few requests carry, "" without it; the others are read once, when the request comes."""
        return next((value.decode("latin-1") for name, value in self._scope["headers"] if name == wanted), "")

    async def read_body(self, *, limit: int, timeout: float) -> bytes:
        """Raises ApiError 413 or 408; CancelledError when the client left meanwhile."""
        try:
            async with asyncio.timeout(timeout):
                body = await read_body(self._receive, limit=limit, length=self._length)
        except TimeoutError:
            raise ApiError(408, f"the body did not arrive within {timeout:g} s", code="body_timeout") from None
        if body is None:
            self.client_left = True
            raise asyncio.CancelledError
        self._body_read = True
        return body

    @property
    def came_to(self) -> int:
        """The status in the end: a stream that broke has sent 200 long before."""
        return self.status if self.client_left else self._refused or self.status

    def watch_client(self) -> "Watch":
        """`with` it, the current task is cancelled and `client_left` set as soon as the client goes."""
        return Watch(self, self._receive)

    async def send_json(self, status: int, body: bytes, *, error: ApiError | None = None) -> None:
        self.status, self.started = status, True
        headers = self._headers()
        if error is not None and error.retry_after is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after))
        if status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        await send_whole(self._send, status, body, headers=headers)

    async def send_object(self, status: int, data: object) -> None:
        await self.send_json(status, json.dumps(data).encode())

    async def refuse(self, error: ApiError) -> None:
        """An error as a response of its own, or as the last event of a stream that has begun."""
        # A client that does not read what the engine says is as good as gone.
        self._refused = CLIENT_LEFT if self._is_sending else error.status
        if self.started:
            await self._end_stream(error)
            return
        if error.status == 413:
            await self._swallow()
        await self.send_json(error.status, error.render(), error=error)

    async def start_stream(self) -> None:
        self.status, self.started = 200, True
        head = [(b"content-type", _SSE), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        head += self._headers()
        await self._send({"type": "http.response.start", "status": 200, "headers": head})

    async def send_events(self, text: str, *, last: bool = False) -> None:
        self._is_sending = True
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": not last})
        self._is_sending = False

    async def _end_stream(self, error: ApiError) -> None:
        # A client that does not read must not hold this task: after a second the connection is cut.
        event = f"data: {error.render().decode()}\n\n"
        async with asyncio.timeout(1.0):
            await self.send_events(event, last=True)

    async def _swallow(self) -> None:
        self._closing = _always
        try:
            async with asyncio.timeout(5.0):
                await swallow_body(self._receive, limit=64 * 1024 * 1024)
        except TimeoutError:
            return

    def _headers(self) -> list[tuple[bytes, bytes]]:
        head = [(b"x-request-id", self.request_id.encode())]
        if self.release:
            head.append((b"x-dsops-release", self.release.encode()))
        if self._closing():
            head.append((b"connection", b"close"))
        return head


class Watch:
    """Turns the client's leaving into a cancellation of the task that answers it."""

    def __init__(self, exchange: Exchange, receive: Receive) -> None:
        self._exchange = exchange
        self._receive = receive
        self._watcher: asyncio.Future[Any] | None = None
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._watcher = asyncio.ensure_future(self._receive())
        self._watcher.add_done_callback(self._left)

    def __exit__(self, *_: object) -> None:
        self._task = None
        if self._watcher is not None:
            self._watcher.cancel()

    def _left(self, watcher: "asyncio.Future[Any]") -> None:
        if self._task is not None and not watcher.cancelled():
            self._exchange.client_left = True
            self._task.cancel()


def _always() -> bool:
    return True


def _read_bearer(value: bytes) -> str:
    scheme, _, key = value.decode("latin-1").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""
