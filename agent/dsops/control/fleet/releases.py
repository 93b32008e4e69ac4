"""What the nodes' stores hold, asked over SSH: it is told even where the agent is down."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.ssh import run_node
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.tiers import COLD_BYTES_PER_SECOND, Tier

SECONDS = 20.0
# A copy may be so much slower than it was last time, and needs so long besides.
SLOWER, BESIDES = 4.0, 600.0


@dataclass(frozen=True)
class Listed:
    """A release on one node. state: active, canary, fallback, bad or held; slot: "" in none; bad: why it is refused.

    since: Unix seconds, when it came there. tier: where it lies. way, seconds: how it would come to serve, and how
    soon, copy_seconds of it until it lies hot; "" and None where nobody could say. back: a rollback would go there.
    damage, cold_damage: what is wrong with it where it serves from, and on the cold tier. fit: whether its passport is
    for that node's hardware (fits, other, none, missing, damaged; "" = nobody knows), fit_says: in words.
    """

    release: str
    state: str
    model: str = ""
    quantization: str = ""
    engine: str = ""
    bytes: int = 0
    slot: str = ""
    bad: str | None = None
    passport: bool = False
    since: float | None = None
    tier: str = Tier.HOT
    way: str = ""
    seconds: float | None = None
    copy_seconds: float | None = None
    back: bool = False
    damage: str = ""
    cold_damage: str = ""
    fit: str = ""
    fit_says: str = ""


def read_releases(fleet: Fleet, server: Server) -> tuple[Listed, ...]:
    """All that the node holds. Raises DsopsError."""
    return parse_releases(run_node(fleet, server, ["release", "list", "--json"], timeout=SECONDS), where=server.name)


def read_all(fleet: Fleet, servers: Sequence[Server]) -> list[Outcome[tuple[Listed, ...]]]:
    """All nodes at once."""
    return ask_all(servers, lambda server: read_releases(fleet, server), deadline=SECONDS + 10)


def parse_releases(text: str, *, where: str) -> tuple[Listed, ...]:
    """From the JSON of `dsops node release list --json`. What a newer node says beyond is left out."""
    mend = "run the same dsops version here and on the node (`dsops deploy`)"
    try:
        entries: list[dict[str, Any]] = json.loads(text)["releases"]
        known = {field.name for field in dataclasses.fields(Listed)}
        return tuple(
            decode(Listed, {key: value for key, value in entry.items() if key in known}, where=where)
            for entry in entries
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DsopsError("the list of releases cannot be read", where=where, mend=mend) from error


def find_active(listed: Sequence[Listed]) -> Listed | None:
    """The one that has the traffic."""
    return next((one for one in listed if one.state == "active"), None)


def get_copy_timeout(one: Listed) -> float:
    """Seconds after which a copy between the tiers is given up here; the node goes on with it all the same."""
    return BESIDES + SLOWER * max(one.copy_seconds or 0.0, one.bytes / COLD_BYTES_PER_SECOND)


def choose_servers(fleet: Fleet, nodes: Sequence[str]) -> tuple[Server, ...]:
    """The named gpu servers, else all of them. Raises DsopsError on any other."""
    servers = tuple(fleet.get_server(name) for name in nodes) or fleet.find_role("gpu")
    for server in servers:
        if server.role != "gpu":
            names = ", ".join(one.name for one in fleet.find_role("gpu"))
            mend = f"name one of {names}"
            raise DsopsError(f"{server.name} holds no releases: it is {server.role}", where=str(fleet.path), mend=mend)
    if not servers:
        raise DsopsError("no server of group gpu", where=str(fleet.path), mend='add a group: gpu = ["gpu1"]')
    return servers
