"""A server's SSH connection: quick, never hanging, and when it is lost that server fails alone, in words."""

import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import gevent  # type: ignore[import-untyped]
from paramiko import SSHException
from pyinfra import host, logger
from pyinfra.api import State
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.connectors.util import CommandOutput

USER_TIMEOUT_MS = 30_000  # a cut link is an error after this, not a hang
KEEPALIVE = 10  # seconds
LOST = "connection lost"


@cache
def tune_connections(state: State) -> None:
    """All of a run, once and first: already what is asked of all servers together shall be quick."""
    for server in state.active_hosts:
        if client := getattr(server.connector, "client", None):
            _tune(client.get_transport())


def guard_connection() -> None:
    """Guards this server's connection; nothing to do where the connector is not SSH."""
    if client := getattr(host.connector, "client", None):
        _Guard(host.connector, client).install()


def _tune(transport: Any) -> None:
    """TCP_NODELAY (48 ms -> 4.4 ms a command), a user timeout and keepalive."""
    if transport is None or not isinstance(transport.sock, socket.socket):
        return
    with suppress(OSError):  # of a server that is gone already: its first command says so
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        transport.set_keepalive(KEEPALIVE)


@cache
def quieten() -> None:
    """Keeps what pyinfra reports in its own words from being told a second time as a traceback.

    paramiko's thread logs a dead socket by itself, with a traceback, and Python prints that when nobody listens.
    gevent prints what ends a greenlet although pyinfra takes it up: «No hosts remaining!», when the last one is lost.
    """
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    hub = gevent.get_hub()
    hub.NOT_ERROR = (*hub.NOT_ERROR, PyinfraError)


def is_lost(client: Any) -> bool:
    """Whether nothing more will come through an SSH client."""
    transport = client.get_transport()
    return transport is None or not transport.is_active()


class _Guard:
    """Makes a lost connection a failed command of this server.

    Seen with pyinfra 3.10.0 and paramiko 4: a server that dies while a channel is being opened or a program started
    makes paramiko raise its thread's EOFError (Channel._wait_for_event). pyinfra catches TimeoutError, OSError and
    SSHException around commands and facts, so that this one ended the run for every server. A connection that dies
    later, while output is read, looks like a program that failed without a word. Here both are the same thing.
    """

    def __init__(self, connector: Any, client: Any) -> None:
        self._connector = connector
        self._client = client
        self._told = False

    def install(self) -> None:
        """On the connector, which every fact, command and transfer of pyinfra goes through."""
        results = {"run_shell_command": (False, CommandOutput([])), "put_file": False, "get_file": False}
        for name, failed in results.items():
            setattr(self._connector, name, self._guard(getattr(self._connector, name), failed))

    def _guard(self, call: Callable[..., Any], failed: Any) -> Callable[..., Any]:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                done = call(*args, **kwargs)
            except EOFError:
                return self._tell(failed)
            except (OSError, SSHException, ConnectError):
                if not is_lost(self._client):
                    raise
                return self._tell(failed)
            ok = done[0] if isinstance(done, tuple) else done
            return done if ok or not is_lost(self._client) else self._tell(done)

        return guarded

    def _tell(self, result: Any) -> Any:
        """Once: pyinfra goes on with what is left of the operation, and each of its commands fails too."""
        if not self._told:
            self._told = True
            self._connector.host.log_styled(LOST, fg="red", log_func=logger.error)
        return result
