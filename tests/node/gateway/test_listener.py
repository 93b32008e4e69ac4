"""The listening socket: what has come to it is served, also when it is closed in the same moment."""

import asyncio
import socket
from typing import Any

from dsops.node.gateway.config import Address
from dsops.node.gateway.listener import Listener, bind_tcp

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def close_over(count: int) -> list[bytes]:
    """What clients hear that connected and asked while nobody looked, just before the door was closed."""
    door = bind_tcp(Address("127.0.0.1", 0), key="test")
    address = door.getsockname()
    listener = Listener(answer, keep_alive=5)
    await listener.open(door)
    clients = [socket.create_connection(address, timeout=5) for _ in range(count)]
    for client in clients:
        client.sendall(REQUEST)
    listener.close()
    loop = asyncio.get_running_loop()
    heard = await asyncio.gather(*(loop.run_in_executor(None, hear, client) for client in clients))
    try:
        socket.create_connection(address, timeout=1).close()
    except ConnectionRefusedError:
        return heard
    raise AssertionError("the door is still open")


def hear(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(4096), b""))


def test_who_had_connected_when_the_door_was_closed_is_answered() -> None:
    heard = asyncio.run(close_over(20))
    assert [one.startswith(b"HTTP/1.1 200") and one.endswith(b"ok") for one in heard] == [True] * 20
