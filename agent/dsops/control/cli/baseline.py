"""`dsops baseline`: what is normal on the gpu servers, number by number: shown, or frozen."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dsops.control.doctor.checks import ask_checks
from dsops.control.fleet.inventory import Fleet, Server, get_fleet
from dsops.control.fleet.options import NodeName, inventory_option, who
from dsops.control.fleet.parallel import Outcome, ask_all
from dsops.control.fleet.releases import choose_servers
from dsops.control.fleet.ssh import run_node
from dsops.core.checklist import Checklist
from dsops.core.errors import DsopsError
from dsops.core.maintenance import render_time

SECONDS = 30.0
FAILED, NOBODY_KNOWS = 1, 2


@click.command()
@click.argument("nodes", nargs=-1, type=NodeName())
@click.option("--show", is_flag=True, help="Show what is frozen, and what is otherwise now; the default.")
@click.option("--freeze", is_flag=True, help="What is so now is normal from now on; with --reason.")
@click.option("--reason", default="", help="Why it is frozen, such as commissioning, or a card that was changed.")
@click.option("--force", is_flag=True, help="Freeze also while something is wrong there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@inventory_option
def baseline(
    nodes: tuple[str, ...], *, show: bool, freeze: bool, reason: str, force: bool, as_json: bool, inventory: Path
) -> None:
    """What is normal on NODES, or on all gpu servers: numbers such as a link's width, frozen at commissioning.

    Checks that compare with it are SKIPPED until it is there. It is refused while a finding is BAD.

    Exit status: 0 done, 1 a node did not freeze it, 2 with --show: one did not answer, or has none.
    """
    check_words(show=show, freeze=freeze, reason=reason, force=force)
    fleet = get_fleet(inventory)
    servers = choose_servers(fleet, nodes)
    if freeze:
        raise SystemExit(freeze_all(fleet, servers, reason=reason, force=force, as_json=as_json))
    told = ask_checks(servers)
    if as_json:
        click.echo(json.dumps({"nodes": [to_data(one) for one in told]}, ensure_ascii=False))
    else:
        for one in told:
            click.echo("\n".join(render(one)))
    raise SystemExit(find_code(told))


def check_words(*, show: bool, freeze: bool, reason: str, force: bool) -> None:
    """Raises DsopsError when they do not go together."""
    if show and freeze:
        raise DsopsError("either --show or --freeze", mend="one after the other")
    if freeze and not reason.strip():
        raise DsopsError("--freeze wants a reason", where="--reason", mend='--reason "commissioned"')
    if (reason or force) and not freeze:
        raise DsopsError("--reason and --force go with --freeze", where="--freeze", mend="add it, or leave them out")


def freeze_all(fleet: Fleet, servers: Sequence[Server], *, reason: str, force: bool, as_json: bool) -> int:
    """Each node freezes its own; the exit status."""
    words = ["freeze", "--who", who(), "--reason", reason, *(["--force"] if force else []), "--json"]

    def ask(server: Server) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(run_node(fleet, server, words, timeout=SECONDS))
        return said

    told = ask_all(servers, ask, deadline=SECONDS + 10)
    if as_json:
        rows = [{"node": one.server.name, "reason": one.reason, "frozen": one.value} for one in told]
        click.echo(json.dumps({"nodes": rows}, ensure_ascii=False))
        return FAILED if any(one.error for one in told) else 0
    for one in told:
        name, mend = one.server.name, one.error.mend if one.error else ""
        frozen = f"{one.value['numbers']} numbers are normal from now on" if one.value else f"refused: {one.reason}"
        click.echo(f"{name}: {frozen}" + (f"\n  mend: {mend}" if mend else ""))
    return FAILED if any(one.error for one in told) else 0


def find_changes(seen: Checklist) -> list[tuple[str, str, float | None, float | None]]:
    """(entity, key, frozen, now) of what is otherwise than it was, None where it is not there."""
    frozen = seen.baseline.values if seen.baseline else {}
    now = {(one.entity, one.key): one.value for one in seen.normal}
    keys = sorted({*frozen, *now})
    return [(*key, frozen.get(key), now.get(key)) for key in keys if frozen.get(key) != now.get(key)]


def find_code(told: Sequence[Outcome[Checklist]]) -> int:
    """2 when a node has none, or nobody can say. How far off is too far is the checks' own to judge: `dsops doctor`."""
    return 0 if all(one.value and one.value.baseline for one in told) else NOBODY_KNOWS


def render(one: Outcome[Checklist]) -> list[str]:
    """Of one node: since when, and what is otherwise now; all of it where nothing is."""
    name, seen = one.server.name, one.value
    if seen is None:
        return [f"{name}: does not answer: {one.reason}", *([f"  mend: {one.error.mend}"] if one.error else [])]
    held = seen.baseline
    if held is None:
        says = f"{name}: has no baseline; {len(seen.normal)} numbers could be frozen"
        return [says, f'  mend: `dsops baseline {name} --freeze --reason "commissioned"`']
    forced = ", forced" if held.forced else ""
    head = f"{name}: {len(held.numbers)} numbers, frozen at {render_time(held.at)} by {held.who}{forced}: {held.reason}"
    changes = find_changes(seen)
    lines = [f"  {entity} {key}: was {_render(was)}, is {_render(now)}" for entity, key, was, now in changes]
    return [head, *(lines or [f"  {one.entity} {one.key}: {_render(one.value)}" for one in held.numbers])]


def _render(value: float | None) -> str:
    return "not there" if value is None else f"{value:,.6g}"


def to_data(one: Outcome[Checklist]) -> dict[str, Any]:
    """Of one node; null for what it has not, or nobody said."""
    seen = one.value
    return {
        "node": one.server.name,
        "reason": one.reason,
        "baseline": asdict(seen.baseline) if seen and seen.baseline else None,
        "now": [asdict(number) for number in seen.normal] if seen else None,
    }
