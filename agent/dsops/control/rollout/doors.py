"""What a rollout sees of the fleet, and what it tells nodes: over HTTP and SSH, as an operator would."""

import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from dsops.control.fleet.http import get, read_status
from dsops.control.fleet.inventory import ROLES, Fleet, Server
from dsops.control.fleet.parallel import ask_all
from dsops.control.fleet.ssh import parse_failure, run
from dsops.control.fleet.view import takes_traffic
from dsops.control.rollout.alerts import find_alerts
from dsops.core.errors import DsopsError
from dsops.core.rollout_events import Activate, Back, Drain, Seen, Undrain, Widen
from dsops.core.samples import Samples
from dsops.core.state import Epoch
from dsops.core.status import NodeStatus

ANSWER = 2.0  # seconds for an agent
DRAIN = 120.0  # for requests in flight
STARTS = 120.0  # for a node to take an order: what must be copied first lies hot already
ALERTS = 3.0
# A drain that waited long enough for what is in flight did drain.
STILL_IN_FLIGHT = 3
# What `dsops node` says while the helper or the gateway is restarted, which is over in a moment.
AWAY = (
    "the helper cannot be reached",
    "the helper ended before it answered",
    "no gateway runs on this server",
    "the gateway did not do it",
)
Order = Activate | Widen | Back | Drain | Undrain


@dataclass(frozen=True)
class Told:
    """What became of an order. refused: the node itself said no; lost: nobody knows whether it heard it.

    is_away: it said no because what does such things there was not running. tries: how often it was asked.
    """

    refused: str = ""
    lost: str = ""
    is_away: bool = False
    tries: int = 1


class Doors(Protocol):
    """A rollout's only ways out. None of them raises DsopsError."""

    def look(self) -> tuple[Seen, ...]:
        """All nodes of the rollout, at once."""

    def find_alerts(self) -> tuple[str, ...]:
        """What fires, or why that cannot be said: both hold it."""

    def tell(self, order: Order, epoch: Epoch, *, reason: str) -> Told:
        """Takes as long as the node does."""


@dataclass(frozen=True)
class RealDoors:
    """nodes: those that take part; who: in the nodes' history. alerts: whether they are looked at.

    alone: the nodes where two copies do not fit, as `core.placement` found before the rollout began.
    """

    fleet: Fleet
    nodes: tuple[str, ...]
    who: str
    alerts: bool = True
    alone: frozenset[str] = frozenset()

    def look(self) -> tuple[Seen, ...]:
        servers = [server for server in self.fleet.servers if server.name in self.nodes]
        asked = ask_all(servers, lambda server: look_at(server)[1], deadline=2 * ANSWER + 0.5)
        return tuple(self._place(one.value) if one.value else find_absent(one.server) for one in asked)

    def _place(self, seen: Seen) -> Seen:
        return replace(seen, alone=seen.node in self.alone)

    def find_alerts(self) -> tuple[str, ...]:
        if not self.alerts:
            return ()
        try:
            return tuple(alert.says for alert in find_alerts(self.fleet, timeout=ALERTS) or ())
        except DsopsError as error:
            return (f"{error} ({error.mend})" if error.mend else str(error),)

    def tell(self, order: Order, epoch: Epoch, *, reason: str) -> Told:
        words, timeout = render_order(order, epoch, who=self.who, reason=reason)
        try:
            server = self.fleet.get_server(order.node)
            done = run(self.fleet, server, ["dsops", "node", *words], timeout=timeout)
        except DsopsError as error:
            return Told(lost=str(error))
        if done.code == 0 or (done.code == STILL_IN_FLIGHT and isinstance(order, Drain)):
            return Told()
        said = parse_failure(done, server=server, command=shlex.join(words)).what
        return Told(refused=said, is_away=any(words in said for words in AWAY))


def render_order(order: Order, epoch: Epoch, *, who: str, reason: str) -> tuple[Sequence[str], float]:
    """The words of `dsops node` for it, and the seconds that it may take."""
    told = ["--who", who, "--reason", reason]
    fleet = ["--epoch", str(epoch.number), "--holder", epoch.holder]
    match order:
        case Activate():
            alone = ["--alone"] if order.alone else []
            words = ["release", "activate", order.release, "--share", str(order.share), *alone]
            return [*words, *told, *fleet, "--json"], STARTS
        case Widen():
            return ["release", "widen", order.release, "--share", str(order.share), *told, *fleet, "--json"], STARTS
        case Back():
            words = ["rollback", "--leaves", order.release, "--who", who, "--reason", order.reason]
            return [*words, *fleet, "--json"], STARTS
        case Drain():
            return ["drain", "--who", who, "--reason", order.reason, "--wait", f"{DRAIN:g}"], DRAIN + 15
        case Undrain():
            return ["undrain", "--who", who], 15.0


def look_at(server: Server) -> tuple[NodeStatus, Seen]:
    """Status and samples of one node. Raises DsopsError when its agent does not answer."""
    with ThreadPoolExecutor(1) as beside:
        began = time.time()
        samples = beside.submit(find_samples, server)
        status = read_status(server, timeout=ANSWER)
        halfway = (began + time.time()) / 2
        return status, build_seen(server, status, samples.result(), at=halfway)


def find_absent(server: Server) -> Seen:
    """What is seen of a node that does not answer."""
    return Seen(server.name, find_pool(server), is_reachable=False)


def find_samples(server: Server) -> Samples | None:
    """None where it cannot say: no data never goes forward."""
    try:
        body = get(server.address, server.agent_port, "/v1/samples", timeout=ANSWER)
        return Samples.from_json(body, where=server.name)
    except DsopsError:
        return None


def build_seen(server: Server, status: NodeStatus, samples: Samples | None, *, at: float) -> Seen:
    """What a rollout needs of a status. at: our clock when it was asked. Pure."""
    canary = status.canary
    return Seen(
        server.name,
        find_pool(server),
        is_serving=takes_traffic(status),
        active=status.release,
        canary=canary.release if canary else "",
        share=canary.share if canary else 0,
        # A canary that only waits is a move under way too, for the node; for us it is where we want it.
        is_moving=bool(status.move) and canary is None,
        drained=status.drained or "",
        bad=tuple(one.release for one in status.bad),
        why_bad=tuple(one.reason for one in status.bad),
        halted=status.halted,
        skew=(samples.at if samples else status.observed_at) - at,
        samples=samples,
    )


def find_pool(server: Server) -> str:
    """What must never be without a healthy node: the last of a server's own groups, else its role."""
    own = [group for group in server.groups if group not in ROLES]
    return own[-1] if own else server.role
