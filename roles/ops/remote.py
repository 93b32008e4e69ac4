"""Sends bytes to a server's program over the connection that is there: no temporary file, nothing in argv or logs."""

import io
import shlex
from collections.abc import Callable
from typing import IO

from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import Host, State, StringCommand

TIMEOUT = 600  # seconds for one transfer


def pipe(state: State, host: Host, command: str, write: Callable[[IO[bytes]], None]) -> bool:
    """Runs `command` (sh) on the server with what `write` writes as its standard input. False when it fails.

    Over SSH it streams through one channel. Other connectors (@local, @fake) get the bytes as a file.
    """
    client = getattr(host.connector, "client", None)
    if client is None:
        return _pipe_by_file(host, command, write)
    stdin, stdout, stderr = client.exec_command(f"sh -c {shlex.quote(command)}", timeout=TIMEOUT)
    try:
        write(stdin)
        stdin.flush()
        stdin.channel.shutdown_write()
        said = stderr.read().decode(errors="replace").strip()
        code = int(stdout.channel.recv_exit_status())
    except (OSError, EOFError, SSHException) as error:
        said, code = f"the connection broke: {error}", 255
    if code:
        logger.error(f"[{host.name}] exit {code}: {said[-1000:]}")
    return code == 0


def _pipe_by_file(host: Host, command: str, write: Callable[[IO[bytes]], None]) -> bool:
    held = io.BytesIO()
    write(held)
    held.seek(0)
    name = "/var/lib/dsops/.dsops-upload"
    host.put_file(held, name)
    ok, _ = host.run_shell_command(StringCommand(f"{command} < {name}; code=$?; rm -f {name}; exit $code"))
    return bool(ok)
