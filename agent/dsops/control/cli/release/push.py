"""`dsops release push ID`: brings a release to the nodes, all at once, and sends only what each lacks."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from dsops.control.bundle.held import Held, check_held
from dsops.control.bundle.sign import SITE_NAMESPACE
from dsops.control.cli.release.options import NODES, RELEASE, get_release
from dsops.control.cli.release.papers import get_signed, read_papers
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.options import get_fleet, inventory_option
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.push import Pushed, Signed
from dsops.control.fleet.push import push as push_to
from dsops.control.fleet.releases import choose_servers
from dsops.control.fleet.ssh import open_session
from dsops.control.progress import Steps, render_bytes
from dsops.control.transfers import Transfers

A_WEEK = 7 * 86400.0


@click.command()
@click.argument("release", type=RELEASE)
@click.argument("nodes", nargs=-1, type=NODES)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@inventory_option
def push(release: str, nodes: tuple[str, ...], as_json: bool, inventory: Path) -> None:
    """Bring RELEASE, an id or a folder, to the NODES; without a name to all gpu servers. No traffic moves.

    Its passports go along. Only what a node lacks is sent, and a push that was cut off goes on where it stopped when
    it is run again.

    Exit status: 0 all nodes hold it, 1 some do not.
    """
    fleet = get_fleet(inventory)
    servers = choose_servers(fleet, nodes)
    held = get_release(fleet, release)
    prove(fleet, servers[0], held)
    passports = get_signed(read_papers(fleet, held.id, server=servers[0]))
    outcomes = push_all(fleet, servers, held, passports=passports)
    click.echo(json.dumps(to_data(held.id, outcomes)) if as_json else render(held, outcomes, passports=len(passports)))
    raise SystemExit(0 if all(outcome.value for outcome in outcomes) else 1)


def prove(fleet: Fleet, server: Server, held: Held) -> None:
    """Raises DsopsError when a node would refuse it, before a byte is sent."""
    signers = fleet.get_path(server, "bundle_allowed_signers")
    namespace = server.get("bundle_namespace", str, SITE_NAMESPACE)
    with Steps(Console(stderr=True)) as steps:
        steps.start(f"proving {held.id}")
        check_held(held, allowed_signers=signers, namespace=namespace)


def push_all(
    fleet: Fleet, servers: tuple[Server, ...], held: Held, *, passports: tuple[Signed, ...]
) -> list[Outcome[Pushed]]:
    """To all at once; what one node says does not stop the others."""
    with Transfers(Console(stderr=True)) as transfers:

        def bring(server: Server) -> Pushed:
            with open_session(fleet, server) as session:
                return push_to(
                    session,
                    held,
                    passports=passports,
                    begin=lambda total: transfers.begin(server.name, total),
                    tick=lambda count: transfers.advance(server.name, count),
                )

        return ask_all(servers, bring, deadline=A_WEEK)


def render(held: Held, outcomes: list[Outcome[Pushed]], *, passports: int = 0) -> str:
    """One line a node, the passports that went along, and what comes next."""
    lines = [line for outcome in outcomes for line in render_one(outcome)]
    failed = [outcome.server.name for outcome in outcomes if not outcome.value]
    if passports:
        lines.append(f"{passports} passport{'s' if passports > 1 else ''} went along")
    if failed:
        lines.append(f"not everywhere: `dsops release push {held.id} {' '.join(failed)}` goes on where it stopped")
    else:
        lines.append(f"next: dsops release activate {held.id}")
    return "\n".join(lines)


def render_one(outcome: Outcome[Pushed]) -> list[str]:
    """What went to one node, or why not."""
    name, done = outcome.server.name, outcome.value
    if done is None:
        mend = outcome.error.mend if outcome.error else ""
        return [f"{name}: FAILED: {outcome.reason}"] + ([f"  mend: {mend}"] if mend else [])
    went = f"{render_bytes(done.sent)} sent, {render_bytes(done.there)} were there"
    return [f"{name}: {went}, {outcome.seconds:.1f} s" + ("" if done.new else "; it had the release")]


def to_data(release: str, outcomes: list[Outcome[Pushed]]) -> dict[str, Any]:
    """The same for machines."""
    nodes = [
        {
            "node": outcome.server.name,
            "held": outcome.value is not None,
            "reason": outcome.reason,
            "sent": outcome.value.sent if outcome.value else None,
            "there": outcome.value.there if outcome.value else None,
            "new": outcome.value.new if outcome.value else None,
            "seconds": round(outcome.seconds, 3),
        }
        for outcome in outcomes
    ]
    return {"release": release, "nodes": nodes}
