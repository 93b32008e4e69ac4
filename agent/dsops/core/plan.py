"""A plan: what would change on which server, in which waves, from which sources; its id is their digest. Pure."""

import dataclasses
import json
from collections import defaultdict
from dataclasses import dataclass
from hashlib import sha256

from dsops.core.decode import decode
from dsops.core.dry import Change, Detail
from dsops.core.effects import Capacity, Effect, Reboots, find_effect
from dsops.core.errors import DsopsError
from dsops.core.waves import Member, Wave

VERSION = 1
# Not part of the id: the same plan made twice is the same plan.
UNSIGNED = ("id", "made_at", "who")
MAY = "may restart"


@dataclass(frozen=True)
class Origin:
    """Where a plan comes from. revision: "" without git. sources, servers: digests of roles and of the inventory."""

    checkout: str
    revision: str
    sources: str
    dsops: str
    bundle: str
    inventory: str
    servers: str
    limit: tuple[str, ...]


@dataclass(frozen=True)
class ServerPlan:
    """One server that was looked at. release, dsops: what it runs now, "" when its agent does not say."""

    name: str
    changes: tuple[Change, ...]
    release: str = ""
    dsops: str = ""


@dataclass(frozen=True)
class Unseen:
    """A server that could not be looked at."""

    name: str
    why: str


@dataclass(frozen=True)
class Plan:
    """fleet: all servers of the inventory, for the pools. effects: of the operations that change. asked: at once."""

    id: str
    made_at: str
    who: str
    origin: Origin
    fleet: tuple[Member, ...]
    servers: tuple[ServerPlan, ...]
    unseen: tuple[Unseen, ...]
    effects: tuple[Effect, ...]
    waves: tuple[Wave, ...]
    asked: int | None = None
    version: int = VERSION

    @property
    def changed(self) -> tuple[ServerPlan, ...]:
        return tuple(server for server in self.servers if server.changes)

    def get_server(self, name: str) -> ServerPlan:
        """Of those that were looked at."""
        return next(server for server in self.servers if server.name == name)

    def to_json(self) -> str:
        """For the file."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"


def make_id(plan: Plan) -> str:
    """12 hex digits of the sha256 of all but when it was made and by whom."""
    data = {key: value for key, value in dataclasses.asdict(plan).items() if key not in UNSIGNED}
    return sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def parse_plan(text: str, *, where: str) -> Plan:
    """Raises DsopsError on what is no plan, one of another version, and one that was changed since it was made."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DsopsError(f"is no plan ({error})", where=where, mend="`dsops plan` makes one") from error
    version = data.get("version") if isinstance(data, dict) else None
    if version != VERSION:
        raise DsopsError(f"is no plan of version {VERSION}", where=where, mend="`dsops plan` makes a new one")
    plan = decode(Plan, data, where=where)
    if make_id(plan) != plan.id:
        raise DsopsError("was changed after it was made", where=where, mend="`dsops plan` makes a new one")
    return plan


def find_restarts(plan: Plan, server: ServerPlan) -> dict[str, str]:
    """unit -> what happens to it: as the operations told, else as their effects say."""
    found: dict[str, str] = {}
    for change in server.changes:
        told = [one for one in change.details if one.kind == "unit"]
        effect = find_effect(plan.effects, change.operation)
        for one in told:
            found[one.target] = one.says
        # An upgrade tells all that it would restart: nothing, on a fresh server.
        is_told = bool(told) or any(one.kind in {"upgrade", "unit"} for one in change.details)
        if not is_told and effect:
            found |= {unit: found.get(unit, MAY) for unit in effect.restarts}
    return found


def find_reboots(plan: Plan, server: ServerPlan) -> list[str]:
    """The operations after which a server's role asks for a reboot."""
    effects = {change.operation: find_effect(plan.effects, change.operation) for change in server.changes}
    return [name for name, effect in effects.items() if effect and effect.reboots is Reboots.ASKED]


def find_out(plan: Plan, name: str) -> list[str]:
    """The operations while which a gpu server serves nothing; other servers go on serving beside theirs."""
    member = next(one for one in plan.fleet if one.name == name)
    if member.role != "gpu":
        return []
    changes = plan.get_server(name).changes
    effects = {change.operation: find_effect(plan.effects, change.operation) for change in changes}
    return [name for name, effect in effects.items() if effect and effect.capacity is Capacity.NODE]


def find_silent(plan: Plan) -> list[str]:
    """Operations that change something, of which no effects.toml says what that does to the service."""
    names = dict.fromkeys(change.operation for server in plan.servers for change in server.changes)
    return [name for name in names if find_effect(plan.effects, name) is None]


def find_ports(server: ServerPlan) -> list[str]:
    """The lines about ports that come to (+) or go from (-) the files of the role firewall."""
    details = [one for change in server.changes if change.role == "firewall" for one in change.details]
    return [line for one in details for line in one.diff if "dport" in line and line[:1] in "+-"]


def group_servers(servers: tuple[ServerPlan, ...]) -> list[tuple[ServerPlan, ...]]:
    """Those with the same operations together; what the operations would do may differ from one to the next."""
    groups: dict[tuple[str, ...], list[ServerPlan]] = defaultdict(list)
    for server in servers:
        groups[tuple(change.operation for change in server.changes)].append(server)
    return [tuple(group) for group in groups.values()]


def find_details(group: tuple[ServerPlan, ...], operation: str) -> list[tuple[tuple[str, ...], tuple[Detail, ...]]]:
    """(servers, what the operation would do there), for each different thing that it would do."""
    found: dict[tuple[Detail, ...], list[str]] = defaultdict(list)
    for server in group:
        change = next(one for one in server.changes if one.operation == operation)
        found[change.details].append(server.name)
    return [(tuple(names), details) for details, names in found.items()]
