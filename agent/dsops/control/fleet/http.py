"""Reads from the servers over HTTP."""

import http.client
import json
from dataclasses import dataclass

from dsops.control.fleet.inventory import Server
from dsops.core.checklist import Checklist
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.status import NodeStatus
from dsops.core.story import Decision

MAX_BYTES = 8 << 20
SAME_VERSION = "run the same dsops version here and on the node (`dsops deploy`)"


def read_status(server: Server, *, timeout: float) -> NodeStatus:
    """The server's status from its agent. timeout in seconds for each step. Raises DsopsError."""
    where = f"{server.address}:{server.agent_port}"
    return NodeStatus.from_json(get(server.address, server.agent_port, "/v1/status", timeout=timeout), where=where)


def read_checks(server: Server, *, timeout: float) -> Checklist:
    """What the server's checks saw last, from its agent. timeout in seconds for each step. Raises DsopsError."""
    where = f"{server.address}:{server.agent_port}"
    return Checklist.from_json(get(server.address, server.agent_port, "/v1/checks", timeout=timeout), where=where)


@dataclass(frozen=True)
class Entry:
    """Something that happened on a node. at: Unix seconds. seq: its number in the store's journal, if it has one."""

    at: float
    kind: str
    release: str
    says: str
    who: str
    seq: int | None = None


def read_decision(server: Server, *, timeout: float) -> Decision | None:
    """What the node decided last; None when it never had to. Raises DsopsError."""
    where = f"{server.address}:{server.agent_port}"
    status, body = _fetch(server.address, server.agent_port, "/v1/why", timeout=timeout)
    if status == 404 and b"reason" in body:
        return None
    if status != 200:
        raise _refused(where, status)
    return decode(Decision, _load(body, where=where), where=where)


def read_history(server: Server, *, limit: int, timeout: float) -> tuple[Entry, ...]:
    """The newest entries first. Raises DsopsError."""
    where = f"{server.address}:{server.agent_port}"
    body = get(server.address, server.agent_port, f"/v1/history?limit={limit}", timeout=timeout)
    return parse_history(body, where=where)


def parse_history(body: bytes | str, *, where: str) -> tuple[Entry, ...]:
    """Entries from the agent's answer, or from that of `dsops node history --json`. Raises DsopsError."""
    data = _load(body, where=where)
    entries = data.get("entries") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise DsopsError("the answer holds no entries", where=where, mend=SAME_VERSION)
    return tuple(decode(Entry, entry, where=where) for entry in entries)


def _load(body: bytes | str, *, where: str) -> object:
    try:
        return json.loads(body)
    except ValueError as error:
        raise DsopsError(f"the answer is not JSON ({error})", where=where, mend=SAME_VERSION) from error


def get(address: str, port: int, path: str, *, timeout: float) -> bytes:
    """The body of a 200 answer. Raises DsopsError else."""
    status, body = _fetch(address, port, path, timeout=timeout)
    if status != 200:
        raise _refused(f"{address}:{port}", status)
    return body


def _refused(where: str, status: int) -> DsopsError:
    return DsopsError(f"HTTP {status}", where=where, mend="is this dsops-agent's port?")


def _fetch(address: str, port: int, path: str, *, timeout: float) -> tuple[int, bytes]:
    where = f"{address}:{port}"
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read(MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        refused = isinstance(error, ConnectionRefusedError)
        mend = "the server is up, its agent is not: `dsops logs`" if refused else f"is the server up? `ping {address}`"
        raise DsopsError(describe(error), where=where, mend=mend) from error
    finally:
        connection.close()
    return response.status, body


def describe(error: Exception) -> str:
    """A network error in a word or two."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, http.client.HTTPException):
        return f"no proper HTTP answer ({type(error).__name__})"
    return str(getattr(error, "strerror", "") or error).lower()
