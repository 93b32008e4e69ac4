"""Reads from the servers over HTTP."""

import http.client

from dsops.control.fleet.inventory import Server
from dsops.core.errors import DsopsError
from dsops.core.status import NodeStatus

MAX_BYTES = 8 << 20


def read_status(server: Server, *, timeout: float) -> NodeStatus:
    """The server's status from its agent. timeout in seconds for each step. Raises DsopsError."""
    where = f"{server.address}:{server.agent_port}"
    return NodeStatus.from_json(get(server.address, server.agent_port, "/v1/status", timeout=timeout), where=where)


def get(address: str, port: int, path: str, *, timeout: float) -> bytes:
    """The body of a 200 answer. Raises DsopsError else."""
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
    if response.status != 200:
        raise DsopsError(f"HTTP {response.status}", where=where, mend="is this dsops-agent's port?")
    return body


def describe(error: Exception) -> str:
    """A network error in a word or two."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(error, http.client.HTTPException):
        return f"no proper HTTP answer ({type(error).__name__})"
    return str(getattr(error, "strerror", "") or error).lower()
