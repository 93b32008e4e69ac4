"""Runs `dsops node ...` on servers over SSH as the dsops user, only on servers whose host key is pinned."""

import logging
import shlex
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection  # type: ignore[import-untyped]
from invoke.exceptions import CommandTimedOut
from paramiko.hostkeys import InvalidHostKey
from paramiko.pkey import UnknownKeyType

from dsops.control.audit import telling
from dsops.control.fleet.http import describe
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.errors import DsopsError

# What it runs into is raised as well; without a handler its log would be printed between our own words.
logging.getLogger("paramiko").addHandler(logging.NullHandler())
# How paramiko says, one or the other, that a server that hangs sent no banner in time.
NO_BANNER = ("No existing session", "Error reading SSH protocol banner")

CONNECT_SECONDS = 5.0
# What paramiko says when the other side closed without an exit status.
NO_STATUS = -1


@dataclass(frozen=True)
class SshDone:
    """How the command ended on the server."""

    code: int
    stdout: str
    stderr: str


def run_node(fleet: Fleet, server: Server, words: Sequence[str], *, timeout: float) -> str:
    """Standard output of `dsops node WORDS`. Raises DsopsError with what the server said."""
    done = run(fleet, server, ["dsops", "node", *words], timeout=timeout)
    if done.code == 0:
        return done.stdout
    raise parse_failure(done, server=server, command=shlex.join(["dsops", "node", *words]))


def parse_failure(done: SshDone, *, server: Server, command: str) -> DsopsError:
    """The server's own `error:` and `mend:` lines; the command and its last words where there are none."""
    lines = done.stderr.strip().splitlines()
    what = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), "")
    mend = next((line.strip().removeprefix("mend: ") for line in lines if line.strip().startswith("mend: ")), "")
    said = what or f"exit {done.code}: {command}: {(done.stderr or done.stdout).strip()[-500:]}"
    return DsopsError(said, where=server.name, mend=mend)


def run(fleet: Fleet, server: Server, argv: Sequence[str], *, timeout: float) -> SshDone:
    """One command on one server. timeout in seconds for the command; connecting has its own.

    One that changes a node is told to this control host's audit, however it ends.
    """
    with telling(fleet.path, server.name, argv) as heard:
        done = _run(fleet, server, argv, timeout=timeout)
        return replace(done, stderr=heard.hear(done.code, done.stderr))


def _run(fleet: Fleet, server: Server, argv: Sequence[str], *, timeout: float) -> SshDone:
    connection = connect(fleet, server)
    end = time.monotonic() + timeout
    try:
        done: Any = connection.run(shlex.join(argv), hide=True, warn=True, in_stream=False, timeout=timeout)
    except CommandTimedOut as error:
        raise _no_end(argv, server, timeout=timeout) from error
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise DsopsError(f"the connection broke ({error})", where=server.name, mend="try again") from error
    finally:
        connection.close()
    if done.return_code == NO_STATUS:
        if time.monotonic() >= end:  # the server hung up just when the time was over
            raise _no_end(argv, server, timeout=timeout)
        raise DsopsError("the connection broke before the command ended", where=server.name, mend="try again")
    return SshDone(done.return_code, done.stdout, done.stderr)


def _no_end(argv: Sequence[str], server: Server, *, timeout: float) -> DsopsError:
    return DsopsError(f"no end after {timeout:g} s: {shlex.join(argv)}", where=server.name)


class Session:
    """One connection to a server; every verb is a channel of its own and may be fed bytes."""

    def __init__(self, fleet: Fleet, server: Server, transport: paramiko.Transport) -> None:
        self.fleet = fleet
        self.server = server
        self._transport = transport

    def ask(self, words: Sequence[str], *, chunks: Iterable[bytes] = (), timeout: float) -> str:
        """Standard output of `dsops node WORDS`, which reads the chunks. timeout in seconds without any progress.

        Raises DsopsError with what the server said, or that the connection broke.
        """
        argv = ["dsops", "node", *words]
        with telling(self.fleet.path, self.server.name, argv) as heard:
            done = self._exchange(shlex.join(argv), chunks, timeout=timeout)
            done = replace(done, stderr=heard.hear(done.code, done.stderr))
        if done.code < 0:
            raise self._broken("no end was told")
        if done.code:
            raise parse_failure(done, server=self.server, command=shlex.join(argv))
        return done.stdout

    def _exchange(self, command: str, chunks: Iterable[bytes], *, timeout: float) -> SshDone:
        try:
            return _exchange(self._transport, command, chunks, timeout=timeout)
        except TimeoutError as error:
            raise DsopsError(f"nothing moved for {timeout:g} s: {command}", where=self.server.name) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise self._broken(str(error)) from error

    def _broken(self, said: str) -> DsopsError:
        return DsopsError(f"the connection broke ({said})", where=self.server.name, mend="try again")


@contextmanager
def open_session(fleet: Fleet, server: Server) -> Iterator[Session]:
    """For several verbs, or for bytes. Raises DsopsError when there is no way in."""
    connection = connect(fleet, server)
    try:
        yield Session(fleet, server, connection.transport)
    finally:
        connection.close()


def _exchange(transport: paramiko.Transport, command: str, chunks: Iterable[bytes], *, timeout: float) -> SshDone:
    """One command on a channel of its own. code is negative when the connection ended before it."""
    channel = transport.open_session(timeout=CONNECT_SECONDS)
    with channel:
        channel.settimeout(timeout)
        channel.exec_command(command)
        _feed(channel, chunks)
        out, err = _read_all(channel.recv), _read_all(channel.recv_stderr)
        # What is read to its end has ended, but for the status, which may come a moment later.
        code = channel.recv_exit_status() if channel.status_event.wait(timeout) else -1
        return SshDone(code, out.decode(errors="replace"), err.decode(errors="replace"))


def _feed(channel: paramiko.Channel, chunks: Iterable[bytes]) -> None:
    """Sends them all. A command that does not want the rest is no error: its own words say why."""
    for chunk in chunks:
        try:
            channel.sendall(chunk)
        except TimeoutError:
            raise
        except OSError:
            return
    channel.shutdown_write()


def _read_all(receive: Callable[[int], bytes]) -> bytes:
    return b"".join(iter(lambda: receive(1 << 16), b""))


def connect(fleet: Fleet, server: Server) -> Any:
    """An open Fabric connection. Raises DsopsError, also when the host key is not the pinned one."""
    known_hosts = _get_file(fleet, server, "ssh_known_hosts_file", mend="`dsops deploy` needs it as well")
    key = _get_file(fleet, server, "dsops_ssh_key", mend="set dsops_ssh_key to the operators' key")
    connection = Connection(
        server.address,
        user=server.get("dsops_ssh_user", str, "dsops"),
        port=server.ssh_port,
        # lazy, no ssh_config: nothing of this account changes where we go.
        config=Config(lazy=True, overrides={"load_ssh_configs": False}),
        connect_timeout=CONNECT_SECONDS,
        connect_kwargs={
            "pkey": read_private_key(key),
            "look_for_keys": False,
            "allow_agent": False,
            "banner_timeout": CONNECT_SECONDS,
            "auth_timeout": CONNECT_SECONDS,
            "channel_timeout": CONNECT_SECONDS,
        },
    )
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        connection.client.load_host_keys(str(known_hosts))
        connection.open()
        _tune(connection)
    except Exception as error:
        connection.close()
        raise explain(error, server=server, known_hosts=known_hosts, key=key) from error
    return connection


def read_private_key(path: Path) -> paramiko.PKey:
    """Raises DsopsError when it is none, or wants a passphrase."""
    try:
        return paramiko.PKey.from_path(str(path))
    except (OSError, ValueError, TypeError, paramiko.SSHException, UnknownKeyType) as error:
        mend = "dsops_ssh_key names a private key without passphrase"
        raise DsopsError(f"cannot be used as a private key ({error})", where=str(path), mend=mend) from error


def explain(error: Exception, *, server: Server, known_hosts: Path, key: Path) -> Exception:
    """A connection's failure in the operator's words; a bug comes back as it is."""
    name = server.address if server.ssh_port == 22 else f"[{server.address}]:{server.ssh_port}"
    if isinstance(error, paramiko.BadHostKeyException):
        what = f"{server.name} ({name}) shows another host key than the pinned one; this may be another machine"
        mend = f"if it was reinstalled: `ssh-keygen -R '{name}' -f {known_hosts}`, then pin its new key"
        return DsopsError(what, where=str(known_hosts), mend=mend)
    if isinstance(error, paramiko.AuthenticationException):
        what = f"{server.name} refuses this key for user {server.get('dsops_ssh_user', str, 'dsops')}"
        return DsopsError(what, where=str(key), mend="`dsops deploy` installs the operators' keys")
    if isinstance(error, paramiko.SSHException) and "not found in known_hosts" in str(error):
        keyscan = f"ssh-keyscan -p {server.ssh_port} {server.address} >> {known_hosts}"
        mend = f"`{keyscan}`, and compare it with the key at its console"
        return DsopsError(f"the host key of {server.name} ({name}) is not pinned", where=str(known_hosts), mend=mend)
    if isinstance(error, InvalidHostKey):
        return DsopsError(f"a line is no host key: {error}", where=str(known_hosts), mend="mend or remove that line")
    if isinstance(error, paramiko.SSHException | OSError | EOFError | ValueError):
        said = "nothing listens there" if _is_refused(error) else describe(error)
        said = "it takes the connection and says nothing" if str(error).startswith(NO_BANNER) else said
        mend = f"is the server up? `ping {server.address}`"
        return DsopsError(f"cannot connect by SSH: {said}", where=f"{server.name} ({name})", mend=mend)
    return error


def _is_refused(error: Exception) -> bool:
    return isinstance(error, ConnectionRefusedError | paramiko.ssh_exception.NoValidConnectionsError)


def _get_file(fleet: Fleet, server: Server, key: str, *, mend: str) -> Path:
    path = fleet.get_path(server, key)
    if not path.is_file():
        raise DsopsError(f"{key} names a file that is not there", where=str(path), mend=mend)
    return path


def _tune(connection: Any) -> None:
    # Without NODELAY each command waits 40 ms for an acknowledgement; without the others a cut link hangs.
    transport = connection.transport
    transport.set_keepalive(5)
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)
