"""Ports of 127.0.0.1 that nobody else takes between asking for one and listening on it.

They lie below those that Linux gives to clients and to whoever binds port 0 (`ip_local_port_range`, from 32768 on).
Each process of a test run has a range of its own, claimed by an abstract socket that ends with the process.
"""

import socket
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice

FIRST, LAST, EACH = 20000, 32000, 400


def find_free_port() -> int:
    return find_free_ports(1)


def find_free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    (_, ports), found = _claim_range(), 0
    for port in islice(ports, 2 * EACH):
        before = found if port % EACH else 0  # a row never goes over the range's edge
        found = before + 1 if _is_free(port) else 0
        if found == count:
            return port - count + 1
    raise AssertionError(f"no {count} free ports in a row")


@cache
def _claim_range() -> tuple[socket.socket, Iterator[int]]:
    """(what holds the claim, EACH ports over and over, so that each rests before it comes back)."""
    for first in range(FIRST, LAST, EACH):
        guard = socket.socket(socket.AF_UNIX)
        try:
            guard.bind(f"\0dsops-tests-ports-{first}")
        except OSError:
            guard.close()
        else:
            return guard, cycle(range(first, first + EACH))
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
