"""An SSH server on loopback that answers commands from a function, for tests."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

Reply = tuple[int, str, str]


@dataclass
class Sshd:
    """answer: command to (code, stdout, stderr); asked: (user, command).

    serve: answers instead, and may read what the command is fed, or cut the connection (`channel.transport.close()`).
    """

    answer: Callable[[str], Reply] = lambda _: (0, "", "")
    serve: Callable[[str, paramiko.Channel], Reply] | None = None
    host_key: paramiko.PKey = field(default_factory=lambda: paramiko.ECDSAKey.generate())
    allowed: paramiko.PKey = field(default_factory=lambda: paramiko.ECDSAKey.generate())
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0


class _Session(paramiko.ServerInterface):
    def __init__(self, sshd: Sshd) -> None:
        self.sshd = sshd
        self.user = ""

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: Any) -> int:
        self.user = username
        good = key.asbytes() == self.sshd.allowed.asbytes()
        return AUTH_SUCCESSFUL if good else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: Any, command: bytes) -> bool:
        threading.Thread(target=self._reply, args=(channel, command.decode()), daemon=True).start()
        return True

    def _reply(self, channel: Any, command: str) -> None:
        # paramiko tells the client that the command runs after this request's method has returned.
        time.sleep(0.05)
        self.sshd.asked.append((self.user, command))
        serve = self.sshd.serve
        code, out, err = serve(command, channel) if serve else self.sshd.answer(command)
        # A client that went away ends its transport, also between these.
        with suppress(EOFError, OSError):
            channel.sendall(out.encode())
            channel.sendall_stderr(err.encode())
            channel.send_exit_status(code)
            channel.close()


@contextmanager
def run_sshd(sshd: Sshd) -> Iterator[Sshd]:
    """On a free port of 127.0.0.1."""
    listener = socket.create_server(("127.0.0.1", 0))
    sshd.port = listener.getsockname()[1]
    transports: list[Any] = []

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            # Else each small answer waits 40 ms for the acknowledgement of the one before.
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = paramiko.Transport(peer)
            transport.add_server_key(sshd.host_key)
            transports.append(transport)
            try:
                transport.start_server(server=_Session(sshd))
            except (paramiko.SSHException, EOFError):
                transport.close()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield sshd
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for transport in transports:
            transport.close()
