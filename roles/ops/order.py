"""In which order servers are taken where it counts, and which of them pyinfra has given up."""

from collections.abc import Iterable, Iterator
from typing import Any

from pyinfra.api import Host, State


def in_order(servers: Iterable[Host]) -> list[Host]:
    """gpu servers first: the others of them carry on meanwhile, and a balancer has nobody. Else as in the inventory."""
    return sorted(servers, key=lambda server: "gpu" not in server.groups)


class _InOrder(set[Host]):
    def __init__(self, servers: set[Host], state: State) -> None:
        super().__init__(servers)
        self._state = state

    def __iter__(self) -> Iterator[Host]:
        return iter([server for server in in_order(self._state.inventory) if server in self])


def order_servers(state: State) -> None:
    """Makes serial operations go the same way every time.

    pyinfra 3.10 walks its set of active servers, so the order was that of their addresses in memory. For a serial
    operation it must be known who comes first: the one that is touched alone when a new build is bad.
    """
    if not isinstance(state.active_hosts, _InOrder):
        state.active_hosts = _InOrder(state.active_hosts, state)


def is_failed(server: Any) -> bool:
    """Whether pyinfra goes on without a server: a fact of it could not be read, or an operation failed there.

    After such a fact pyinfra ends the operation with the fact's default, as if the server had said just that.
    """
    return any(other.name == server.name for other in server.state.failed_hosts)
