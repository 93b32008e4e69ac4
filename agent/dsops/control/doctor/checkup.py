"""Runs all checks at once, here and on every server, and collects every finding."""

import datetime as dt
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from dsops.control.doctor.bundle import check_bundle, find_bundle, find_facts, read_size
from dsops.control.doctor.certificates import check_certificates
from dsops.control.doctor.credentials import check_credentials
from dsops.control.doctor.defaults import read_keys, read_systems
from dsops.control.doctor.egress import Target
from dsops.control.doctor.facts import Seen
from dsops.control.doctor.files import check_files
from dsops.control.doctor.finding import Finding, count, ok, unknown
from dsops.control.doctor.inventory import check_inventory
from dsops.control.doctor.machine import Machine, check_machine
from dsops.control.doctor.ports import check_clashes
from dsops.control.doctor.probe import look
from dsops.control.doctor.reach import judge_failure, judge_reached
from dsops.control.doctor.server import Patient, attempt, judge_patient
from dsops.control.doctor.site import Site
from dsops.control.fleet.inventory import Fleet, Server, find_inventory, get_fleet
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.core.errors import DsopsError

# Seconds for all servers together; connecting and the script have less each.
DEADLINE = 25.0
# Hears of the bytes that were read just now, and of how many there are in all.
Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Checkup:
    """What was found. inventory is None, and servers are empty, when no inventory could be read."""

    findings: tuple[Finding, ...]
    inventory: Path | None = None
    servers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outside:
    """What a checkup reaches out with; tests bring their own. egress: where `look` has each server try to get out."""

    look: Callable[[Fleet, Server], Seen] = look
    machine: Machine = field(default_factory=Machine)
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    deadline: float = DEADLINE
    egress: Target | None = None


def check_all(
    inventory: Path | None,
    *,
    root: Path | None = None,
    limit: Sequence[str] = (),
    tick: Tick = lambda _, __: None,
    by: Outside | None = None,
) -> Checkup:
    """Everything at once. Never raises for what is expected: an inventory that cannot be read is UNKNOWN."""
    by = by or Outside()
    findings = attempt("machine", "control host", lambda: check_machine(by.machine))
    try:
        site = read_site(inventory, root=root, limit=limit)
    except DsopsError as error:
        failed = unknown("inventory", error.where or str(inventory), error.what, mend=error.mend)
        return Checkup((*findings, failed), inventory)
    findings += [ok("inventory", str(site.fleet.path), count(len(site.fleet.servers), "server"))]
    with ThreadPoolExecutor(1) as pool:
        # The bundle is long to read and the servers are long to answer: both at once.
        proof = pool.submit(_prove_bundle, site, tick)
        outcomes = ask_all(site.fleet.servers, lambda server: _look(site, server, by), deadline=by.deadline)
        findings += check_here(site, by)
        findings += proof.result()
    findings += [finding for outcome in outcomes for finding in check_server(site, outcome, egress=by.egress)]
    return Checkup(tuple(findings), site.fleet.path, tuple(site.fleet.names))


def read_site(inventory: Path | None, *, root: Path | None, limit: Sequence[str]) -> Site:
    """What is asked about. Raises DsopsError when the inventory or the roles cannot be read, or a limit is unknown."""
    fleet = get_fleet(inventory or find_inventory(Path.cwd()))
    for name in limit:
        fleet.check_name(name)
    if limit and "all" not in limit:
        wanted = set(limit)
        fleet = replace(fleet, servers=tuple(s for s in fleet.servers if wanted & {s.name, *s.groups}))
    root = root or fleet.root
    site = Site(fleet, root, read_keys(root), systems=read_systems(root))
    return replace(site, bundle=find_facts(site))


def check_here(site: Site, by: Outside) -> list[Finding]:
    """All of the control host but the bundle."""
    checks: dict[str, Callable[[], list[Finding]]] = {
        "inventory": lambda: check_inventory(site),
        "ports": lambda: check_clashes(site),
        "files": lambda: check_files(site),
        "certificates": lambda: check_certificates(site, now=by.now()),
        "credentials": lambda: check_credentials(site),
    }
    return [finding for name, check in checks.items() for finding in attempt(name, "control host", check)]


def check_server(site: Site, outcome: Outcome[Seen], *, egress: Target | None = None) -> list[Finding]:
    """All judges of a server that answered, or why it did not."""
    server = outcome.server
    if outcome.value is None:
        error = outcome.error or DsopsError("no answer")
        known_hosts = str(server.data.get("ssh_known_hosts_file", "known_hosts"))
        return judge_failure(server, error, known_hosts=known_hosts)
    one = Patient(site, server, outcome.value, egress)
    return [*judge_reached(server)[: 2 if one.facts.uid else 3], *judge_patient(one)]


def _look(site: Site, server: Server, by: Outside) -> Seen:
    try:
        return by.look(site.fleet, server)
    except DsopsError:
        raise
    except Exception as bug:
        # One server's odd answer must not hide what the others say.
        raise DsopsError(f"looking at it failed ({bug!r}); this is a bug of dsops", where=server.name) from bug


def _prove_bundle(site: Site, tick: Tick) -> list[Finding]:
    path = find_bundle(site)
    total = read_size(path) if path else 0
    return attempt("bundle", str(path), lambda: check_bundle(site, tick=lambda read: tick(read, total)))
