"""Sends bytes to a server's program over the connection that is there: no temporary file, nothing in argv or logs."""

import gc
import io
import shlex
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import Host, State, StringCommand

from roles.ops.connection import LOST, is_lost

TIMEOUT = 600  # seconds for one transfer
GONE = -1  # paramiko's exit status of a program whose end was not seen: a lost connection, or a signal


def pipe(state: State, host: Host, command: str, write: Callable[[IO[bytes]], None]) -> bool:
    """Runs `command` (sh) on the server with what `write` writes as its standard input. False when it fails.

    Over SSH it streams through one channel. Other connectors (@local, @fake) get the bytes as a file.
    """
    client = getattr(host.connector, "client", None)
    if client is None:
        return _pipe_by_file(host, command, write)
    try:
        code, said = _stream(client, command, write)
        why = LOST if code == GONE and is_lost(client) else f"exit {code}: {said[-2000:]}"
    except (OSError, EOFError, SSHException) as error:
        lost = isinstance(error, EOFError) or is_lost(client)
        code, why = GONE, LOST if lost else f"the transfer broke off: {error}"
    if code:
        logger.error(f"[{host.name}] {why}")
        # A cut tar file is a cycle that holds the channel; to close that at Python's end is a traceback.
        gc.collect()
    return code == 0


def _stream(client: Any, command: str, write: Callable[[IO[bytes]], None]) -> tuple[int, str]:
    """(exit status, standard error) of a program that got what `write` writes."""
    stdin, stdout, stderr = client.exec_command(f"sh -c {shlex.quote(command)}", timeout=TIMEOUT)
    try:
        write(stdin)
        stdin.flush()
        stdin.channel.shutdown_write()
        said = stderr.read().decode(errors="replace").strip()
        return int(stdout.channel.recv_exit_status()), said
    finally:
        with suppress(OSError, EOFError, SSHException):  # else the garbage collector closes it, and tells what it met
            stdin.close()


def _pipe_by_file(host: Host, command: str, write: Callable[[IO[bytes]], None]) -> bool:
    held = io.BytesIO()
    write(held)
    held.seek(0)
    name = "/var/lib/dsops/.dsops-upload"
    host.put_file(held, name)
    ok, _ = host.run_shell_command(StringCommand(f"{command} < {name}; code=$?; rm -f {name}; exit $code"))
    return bool(ok)
