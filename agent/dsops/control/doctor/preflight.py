"""Judges what a deploy's own connections saw of all its servers: `python -m dsops.control.doctor.preflight`.

roles/preflight starts it, writes a Run as JSON to its standard input and reads a Verdict as JSON from its output: the
roles must not import this side, and a second login on every server would cost more than all of this.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dsops.control.doctor.bundle import find_facts
from dsops.control.doctor.defaults import read_keys, read_systems
from dsops.control.doctor.facts import AnswerError, Seen, parse
from dsops.control.doctor.finding import Finding, Status, unknown
from dsops.control.doctor.inventory import check_level
from dsops.control.doctor.ports import check_clashes
from dsops.control.doctor.server import Patient, attempt, judge_patient
from dsops.control.doctor.site import Site
from dsops.control.doctor.summary import merge
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.errors import DsopsError


@dataclass(frozen=True)
class Verdict:
    """problems: as many as refuse. lines: what to show, problems and what is unknown, with how to mend it."""

    problems: int
    warnings: int
    lines: tuple[str, ...]


def judge_run(run: Mapping[str, Any]) -> Verdict:
    """run: `root`, the checkout, and `servers`, each with name, groups, data, said (probe.sh's output), started, ended.

    A server that was lost (said is None) is left out: its own deploy says so. Relative paths of the inventory
    count from where the deploy runs.
    """
    root = Path(run["root"])
    servers = [Server(one["name"], tuple(one["groups"]), one["data"], one["name"]) for one in run["servers"]]
    fleet = Fleet(root / "inventory", Path.cwd(), tuple(servers), {})
    site = Site(fleet, root, read_keys(root), systems=read_systems(root))
    site = replace(site, bundle=find_facts(site))
    findings = attempt("ports", "inventory", lambda: check_clashes(site))
    for server, one in zip(servers, run["servers"], strict=True):
        findings += check_level(site, server)
        findings += _judge_one(site, server, one) if one["said"] is not None else []
    return make_verdict(site, findings)


def _judge_one(site: Site, server: Server, one: Mapping[str, Any]) -> list[Finding]:
    if not one["said"]:
        mend = "log in and look: a hung systemd, disk or driver answers nobody"
        return [unknown("server", server.name, f"gave no answer in {one['ended'] - one['started']:.0f} s", mend=mend)]
    try:
        facts = parse(one["said"], where=server.name)
    except AnswerError as error:
        return [unknown("server", server.name, error.what, mend=error.mend)]
    return judge_patient(Patient(site, server, Seen(facts, one["started"], one["ended"])))


def make_verdict(site: Site, findings: Sequence[Finding]) -> Verdict:
    """Servers whose preflight says `warn` show their problems and refuse nothing."""
    lenient = {server.name for server in site.fleet.servers if site.value(server, "preflight") == "warn"}
    shown = [found for found in findings if found.status in (Status.PROBLEM, Status.UNKNOWN)]
    refusing = [found for found in shown if found.status is Status.PROBLEM and found.where not in lenient]
    warnings = sum(found.status is Status.WARNING for found in findings)
    return Verdict(len(refusing), warnings, tuple(render_lines(shown, servers=site.fleet.names)))


def render_lines(findings: Sequence[Finding], *, servers: Sequence[str]) -> list[str]:
    """What several servers have in common once. The check's name is what preflight_accept takes."""
    lines = []
    for status, check, where, whats, mend in merge(findings, servers=servers):
        lines += [f"{where}: {what} [{check if status is Status.PROBLEM else status.value}]" for what in whats]
        lines += [f"  mend: {mend}"] if mend else []
    return lines


def main() -> None:
    """One run from standard input, its verdict to standard output."""
    try:
        print(json.dumps(asdict(judge_run(json.load(sys.stdin)))))
    except DsopsError as error:
        sys.exit(f"{error}; {error.mend}")


if __name__ == "__main__":
    main()
