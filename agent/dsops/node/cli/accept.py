"""The local door's verbs of acceptance: accept measures this server, certify takes what was made of it."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import click

from dsops.catalog.floors import read_floors
from dsops.core.accept.judge import Check, Outcome, Rules, decide, judge
from dsops.core.accept.measured import NODE, Measurement
from dsops.core.errors import DsopsError
from dsops.node.accept.config import read_accept_config
from dsops.node.accept.measure import Tools, measure
from dsops.node.cli.main import Door, ask_gateway, say
from dsops.node.cli.options import person
from dsops.node.helper.client import call
from dsops.node.sources.gateway import judge_gateway
from dsops.node.sources.hardware import AGENT, is_without_gpus
from dsops.node.store.config import read_store_config
from dsops.node.store.journal import read_state

# Writing and reading the file takes 40 s at most.
DISK_SECONDS = 90.0
CERTIFY_SECONDS = 60.0
LIMIT = 16 << 20


@click.command()
@click.option("--address", multiple=True, metavar="ADDRESS", help="Of this server, to find its network interface.")
@click.option("--while-serving", is_flag=True, help="Only what disturbs nobody: counters, links, network.")
@click.option("--json", "as_json", is_flag=True, help="The measurement as one JSON object, not judged.")
@click.pass_obj
def accept(door: Door, address: tuple[str, ...], while_serving: bool, as_json: bool) -> None:
    """Measures this server: all GPUs at once, their pairs, counters before and after, the disk, the network.

    Takes a minute or two, and all of the GPUs: not while it serves. `dsops accept` on the control host judges it
    against the fleet as well, and makes the certificate.

    Exit status: 0 measured (with --json), or passed; 1 something failed, 2 nobody can say.
    """
    if not while_serving:
        check_idle(door)
    tools = make_tools(door)
    measured = measure(tools, addresses=address, is_light=while_serving)
    if as_json:
        click.echo(measured.render())
        return
    checks = judge(measured, Rules(floors=read_floors()))
    for line in render_checks(measured, checks):
        click.echo(line)
    verdict = decide(checks)
    click.echo(f"{verdict}, by the catalog's floors alone; `dsops accept` on the control host has the fleet's medians")
    sys.exit({"pass": 0, "fail": 1}.get(verdict, 2))


def make_tools(door: Door) -> Tools:
    """What this server measures with."""

    def read_disk(mib: int) -> tuple[int, float, bool]:
        said = call(door.helper, "read_disk", timeout=DISK_SECONDS, mib=mib)
        return int(said["bytes"]), float(said["seconds"]), bool(said["direct"])

    def tell(line: str) -> None:
        click.echo(line, err=True)

    tools = Tools(read_accept_config(), read_disk, is_bare=is_without_gpus(AGENT), run=door.run, tell=tell)
    return door.measures(tools)


def check_idle(door: Door) -> None:
    """Raises DsopsError while a release has traffic here: it would be slow, and so would the figures."""
    try:
        state = read_state(read_store_config(door.store).root)[0]
    except DsopsError:
        return  # no store, no release
    release = state.active or state.canary or state.move
    if release is None or judge_gateway(ask_gateway(door, "/status")).drained is not None:
        return
    what = f"{release.release} serves here, and an acceptance takes the whole of the GPUs"
    mend = "`dsops drain NODE --reason ... --wait 60` first; or --while-serving, which only looks"
    raise DsopsError(what, mend=mend)


def render_checks(measured: Measurement, checks: tuple[Check, ...]) -> list[str]:
    """One line each, what failed first."""
    order = [Outcome.FAIL, Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.PASS]
    lines = [f"{len(measured.gpus)} GPUs, driver {measured.driver or '-'}, {measured.seconds:.0f} s"]
    return lines + [_render(one) for one in sorted(checks, key=lambda one: order.index(one.outcome))]


def _render(one: Check) -> str:
    place = "node" if one.gpu == NODE else f"GPU {one.gpu}"
    value = "" if one.value is None else f"{one.value:,.4g} {one.unit}".rstrip()
    mend = f"; mend: {one.mend}" if one.mend else ""
    return f"{one.outcome.upper():<8} {place:<6} {one.title:<42} {value:>16}  {one.reason}{mend}".rstrip()


@click.command()
@person
@click.pass_obj
def certify(door: Door, who: str, reason: str) -> None:
    """Reads JSON {text, signature}: this server's certificate, which the helper proves and keeps."""
    said = _read_pair()
    kept = call(door.helper, "certify", timeout=CERTIFY_SECONDS, who=who, reason=reason, **said)
    say(True, "", kept)


def _read_pair() -> Mapping[str, Any]:
    try:
        data = json.loads(sys.stdin.buffer.read(LIMIT))
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"the certificate is not JSON ({error})", where="standard input") from error
    if not isinstance(data, dict) or set(data) != {"text", "signature"}:
        raise DsopsError("the certificate should be {text, signature}", where="standard input")
    return data


COMMANDS = (accept, certify)
