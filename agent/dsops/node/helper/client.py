"""Asks the helper: one request a connection, one line of JSON each way."""

import asyncio
import json
import socket
from pathlib import Path
from typing import IO, Any

from dsops.core.errors import DsopsError
from dsops.core.tiers import ColdError


class HelperLostError(DsopsError):
    """The helper ended before it answered: what was asked may have been begun, and goes on with `recover`."""


SOCKET = Path("/run/dsops-helper.sock")
CHUNK = 1 << 20


def call(
    path: Path, verb: str, /, *, timeout: float = 30, payload: bytes | IO[bytes] | None = None, **words: Any
) -> dict[str, Any]:
    """The helper's answer. timeout: seconds without a sign of life. Raises DsopsError: its own, or that it is silent.

    payload: the bytes of `receive`, or a stream of them.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(timeout)
            door.connect(str(path))
            answer = _converse(door, {"verb": verb} | words, payload)
    except TimeoutError as error:
        mend = "`dsops node logs dsops-helper`"
        raise DsopsError(f"the helper does not answer within {timeout:g} s", where=str(path), mend=mend) from error
    except PermissionError as error:
        raise DsopsError("you may not speak to the helper", where=str(path), mend="as root or dsops") from error
    except OSError as error:
        mend = "`systemctl start dsops-helper.socket`; `dsops deploy` installs it"
        raise DsopsError(f"the helper cannot be reached ({error.strerror})", where=str(path), mend=mend) from error
    return parse_answer(answer, where=str(path))


async def acall(path: Path, verb: str, /, *, timeout: float = 30, **words: Any) -> dict[str, Any]:
    """As `call`, without stopping the loop."""
    return await asyncio.to_thread(call, path, verb, timeout=timeout, **words)


def parse_answer(line: bytes, *, where: str) -> dict[str, Any]:
    """What was answered. Raises DsopsError with the helper's own words when it refused."""
    try:
        answer = json.loads(line)
    except ValueError as error:
        mend = "`dsops node logs dsops-helper`; ask again, it goes on where it was"
        raise HelperLostError("the helper ended before it answered", where=where, mend=mend) from error
    if "error" in answer:
        said = answer["error"]
        if said.get("cold"):
            raise ColdError(said["what"], release=said["cold"], where=said["where"], mend=said["mend"])
        raise DsopsError(said["what"], where=said["where"], mend=said["mend"])
    return dict(answer)


def _converse(door: socket.socket, request: dict[str, Any], payload: bytes | IO[bytes] | None) -> bytes:
    try:
        door.sendall(json.dumps(request).encode() + b"\n")
        if isinstance(payload, bytes):
            door.sendall(payload)
        elif payload is not None:
            while data := payload.read(CHUNK):
                door.sendall(data)
        door.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it refused before it had read everything: its answer says why
    with door.makefile("rb") as stream:
        return stream.readline()
