"""Makes a plan: the dry run, what the roles say of its operations, what serves now, the waves."""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from dsops.control.fleet.inventory import Fleet
from dsops.control.fleet.options import who
from dsops.control.fleet.view import read_fleet
from dsops.control.plan.dry import Look, choose_servers, look
from dsops.control.plan.origin import read_origin
from dsops.core.dry import Dry
from dsops.core.effects import Effect, find_effect, parse_effects
from dsops.core.plan import Plan, ServerPlan, Unseen, make_id
from dsops.core.status import NodeStatus
from dsops.core.waves import Member, make_waves

SECONDS = 2.0  # for a server's agent to answer


def make_plan(root: Path, fleet: Fleet, *, limit: tuple[str, ...], asked: int | None) -> Plan:
    """Looks at the servers, and changes nothing. Raises DsopsError when the run as a whole fails."""
    servers = choose_servers(fleet, limit)
    origin = read_origin(root, fleet, limit=limit)
    seen = look(root, fleet, servers)
    status = {one.server.name: one.value for one in read_fleet(fleet, timeout=SECONDS)}
    members = find_members(fleet)
    plans = tuple(build_server(one.name, seen.dry, status[one.name]) for one in servers if one.name in seen.dry.changes)
    names = {change.operation for server in plans for change in server.changes}
    plan = Plan(
        id="",
        made_at=time.strftime("%Y-%m-%d %H:%M:%S%z"),
        who=who(),
        origin=origin,
        fleet=members,
        servers=plans,
        unseen=find_unseen(seen),
        effects=choose_effects(read_effects(root), names),
        waves=make_waves(members, {server.name for server in plans if server.changes}, asked=asked),
        asked=asked,
    )
    return replace(plan, id=make_id(plan))


def find_members(fleet: Fleet) -> tuple[Member, ...]:
    """Every server with its pools: the groups that it is in."""
    return tuple(Member(one.name, one.role, one.groups) for one in fleet.servers)


def build_server(name: str, dry: Dry, status: NodeStatus | None) -> ServerPlan:
    """What would change there, and what it runs now."""
    release, version = (status.release, status.dsops_version) if status else ("", "")
    return ServerPlan(name, dry.changes[name], release, version)


def find_unseen(seen: Look) -> tuple[Unseen, ...]:
    return tuple(Unseen(name, why) for name, why in seen.unseen.items())


def read_effects(root: Path) -> tuple[Effect, ...]:
    """Of all roles of the checkout. Raises DsopsError that names file and key."""
    files = sorted((root / "roles").glob("*/effects.toml"))
    return tuple(effect for file in files for effect in parse_effects(file.read_text(), where=str(file)))


def choose_effects(effects: tuple[Effect, ...], names: Iterable[str]) -> tuple[Effect, ...]:
    """Those of the named operations."""
    wanted = {effect for name in names if (effect := find_effect(effects, name))}
    return tuple(effect for effect in effects if effect in wanted)
