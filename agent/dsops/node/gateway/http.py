"""The few pieces of ASGI that the gateway's doors share."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

from dsops.node.gateway.errors import ApiError

Scope = Mapping[str, Any]
Receive = Any
Send = Any

_UNWANTED = re.compile(r"[^A-Za-z0-9._:-]")


def make_request_id(given: str) -> str:
    """The client's own id without what could upset a log or a header, or a new one."""
    return _UNWANTED.sub("", given)[:128] or "req-" + secrets.token_hex(12)


async def read_body(receive: Receive, *, limit: int, length: int | None = None) -> bytes | None:
    """The request's body, None when the client left; raises ApiError 413 as soon as it is too large."""
    body = b""
    more = True
    if length is not None and length > limit:
        raise _too_large(limit)
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body = body + message["body"] if body else message["body"]
        more = message["more_body"]
        if len(body) > limit:
            raise _too_large(limit)
    return body


async def swallow_body(receive: Receive, *, limit: int) -> None:
    """Reads on a little after a refusal: closing at once would reset the client before it has read why."""
    seen = 0
    while seen < limit:
        message = await receive()
        if message["type"] == "http.disconnect" or not message["more_body"]:
            return
        seen += len(message["body"])


async def send_whole(
    send: Send,
    status: int,
    body: bytes,
    *,
    headers: list[tuple[bytes, bytes]] | None = None,
    kind: bytes = b"application/json",
) -> None:
    """A complete response."""
    head = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"request body is larger than {limit} bytes", code="request_too_large")
