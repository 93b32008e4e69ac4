"""Ports of 127.0.0.1 that nobody else takes between asking for one and listening on it.

They lie below those that Linux gives to clients and to whoever binds port 0 (`ip_local_port_range`, from 32768 on).
Each process of a test run has a range of its own, claimed by an abstract socket that ends with the process.
"""

import socket
from functools import cache
from itertools import cycle

FIRST, LAST, EACH = 20000, 32000, 400


def find_free_port() -> int:
    return find_free_ports(1)


def find_free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    wanted, found = _get_range(), 0
    for _ in range(2 * EACH):
        port = wanted.take()
        found = found + 1 if _is_free(port) and port % EACH else 0  # a row never goes over the range's edge
        if found == count:
            return port - count + 1
    raise AssertionError(f"no {count} free ports in a row")


class Range:
    """EACH ports, one after the other and from the front again, so that a port rests before it comes back."""

    def __init__(self, first: int, guard: socket.socket) -> None:
        self._ports = cycle(range(first, first + EACH))
        self._guard = guard

    def take(self) -> int:
        return next(self._ports)


@cache
def _get_range() -> Range:
    for first in range(FIRST, LAST, EACH):
        guard = socket.socket(socket.AF_UNIX)
        try:
            guard.bind(f"\0dsops-tests-ports-{first}")
        except OSError:
            guard.close()
        else:
            return Range(first, guard)
    raise AssertionError(f"all ranges of ports from {FIRST} to {LAST} are claimed")


def _is_free(port: int) -> bool:
    """For one that listens as servers do: connections that have ended do not keep it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True
