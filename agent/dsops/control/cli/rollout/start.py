"""`dsops rollout start RELEASE`: says all that stands in its way, what it will do and cost, asks once, and runs it."""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from dsops.control.cli.release.options import NODES, RELEASE
from dsops.control.cli.rollout.detach import DETACH, detach
from dsops.control.cli.rollout.options import EVERY, WITHOUT_ALERTS, Site, make_doors, open_site, run_rollout
from dsops.control.cli.status import make_console
from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.options import inventory_option, state_option, who
from dsops.control.fleet.releases import choose_servers
from dsops.control.rollout.costs import Place, find_place
from dsops.control.rollout.doors import RealDoors, find_pool
from dsops.control.rollout.guard import check_forward
from dsops.control.rollout.lock import hold_rollout
from dsops.control.rollout.memory import parse_memory
from dsops.control.rollout.notes import Note, noting
from dsops.control.rollout.plan import Course, render_course, to_data
from dsops.control.rollout.preflight import Known, Situation, find_problems, join_problems, look_aside, look_before
from dsops.control.rollout.run import read_rollout
from dsops.control.rollout.store import Kept
from dsops.control.rollout.view import render_before
from dsops.core.errors import DsopsError
from dsops.core.rollout import begin
from dsops.core.rollout_events import Look
from dsops.core.rollout_state import STEPS, Rollout, Rules
from dsops.core.state import Epoch

SAID_NO = 130


class Steps(click.ParamType[tuple[int, ...]]):
    """`1,5,25,50,100`: percent of the fleet, growing, the last is 100."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        try:
            steps = tuple(int(word) for word in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is no list of whole numbers such as 1,5,25,50,100", param, ctx)
        if list(steps) != sorted(set(steps)) or steps[0] < 1 or steps[-1] != 100:
            self.fail(f"{value!r}: steps grow, begin at 1 or more, and end with 100", param, ctx)
        return steps


@dataclass(frozen=True)
class Wish:
    """What the operator asked for."""

    release: str
    reason: str
    rules: Rules
    alerts: bool


@click.command()
@click.argument("release", type=RELEASE)
@click.argument("nodes", nargs=-1, type=NODES)
@click.option("--reason", required=True, help="Why; kept in the rollout's and the nodes' history.")
@click.option(
    "--canary-minutes",
    type=click.FloatRange(min=0.01),
    default=30.0,
    show_default=True,
    help="How long the first node is watched at least, with the first share.",
)
@click.option(
    "--step-minutes",
    type=click.FloatRange(min=0.01),
    default=30.0,
    show_default=True,
    help="How long each later step is watched at least.",
)
@click.option(
    "--steps",
    type=Steps(),
    default=STEPS,
    show_default=",".join(map(str, STEPS)),
    help="Percent of the fleet, one after the other; 100 alone is blue-green.",
)
@click.option(
    "--min-sample",
    type=click.IntRange(1),
    default=800,
    show_default=True,
    help="Requests to the new release, real and dsops' own, before a step may pass.",
)
@click.option("--max-unavailable", type=click.IntRange(1), help="Nodes of a pool that may be out. Default: a tenth.")
@click.option("--hold-at", type=click.IntRange(1, 99), metavar="SHARE", help="Stay at this step until `resume`: A/B.")
@click.option("--dry", is_flag=True, help="Say what it would do, and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
@click.option("--json", "as_json", is_flag=True, help="With --dry: what it would do, for machines.")
@DETACH
@WITHOUT_ALERTS
@EVERY
@state_option
@inventory_option
def start(
    release: str,
    nodes: tuple[str, ...],
    reason: str,
    canary_minutes: float,
    step_minutes: float,
    steps: tuple[int, ...],
    min_sample: int,
    max_unavailable: int | None,
    hold_at: int | None,
    dry: bool,
    yes: bool,
    as_json: bool,
    in_background: bool,
    without_alerts: bool,
    every: float,
    state: Path,
    inventory: Path,
) -> None:
    """Bring RELEASE over the fleet, or over NODES, step by step: one node with 1 % of its requests first.

    A step goes on when it was watched for long enough, its sample is big enough, and neither errors, answers nor
    times of the new release are worse than the old one's beside it by more than chance. What fails is taken back
    everywhere at once. Ctrl-C stops looking, and leaves the nodes as they are.

    \b
    Exit status: 0   the release has all the traffic (or --dry, --detach)
                 1   refused, or it was taken back
                 130 you said no, or Ctrl-C
    """
    if as_json and not dry:
        raise click.UsageError("--json is for --dry; `dsops rollout status --json` shows a running one")
    if hold_at is not None and hold_at not in steps:
        raise click.BadParameter(f"{hold_at} is none of the steps {','.join(map(str, steps))}", param_hint="--hold-at")
    rules = Rules(steps, canary_minutes, step_minutes, min_sample, hold_at or 0, max_unavailable or 0)
    wish = Wish(release, reason, rules, not without_alerts)
    site = open_site(inventory, state)
    if dry:
        say_dry(prepare(site, wish, nodes), as_json=as_json)
        return
    with noting(site.fleet.path, "rollout start", why=reason, to=release) as note:
        course = prepare(site, wish, nodes)
        make_console().print(render_course(course))
        if not yes and not ask(course):
            click.echo("Nothing was changed.")
            raise SystemExit(SAID_NO)
        with hold_rollout(state, site.fleet.path, who=who(), what=f"rollout of {release}"):
            kept = begin_rollout(site, wish, course, note)
            if not in_background:
                doors = make_doors(site, read_rollout(kept), who=who(), alerts=wish.alerts)
                raise SystemExit(run_rollout(site, kept, doors, every=every))
    detach(site, kept.id, reason="runs in the background", without_alerts=without_alerts, every=every)


def prepare(site: Site, wish: Wish, nodes: Sequence[str]) -> Course:
    """Looks at everything. Raises DsopsError with all that stands in the way."""
    servers = choose_servers(site.fleet, nodes)
    console = Console(stderr=True)
    with console.status("asking the nodes") if console.is_terminal else nullcontext():
        others = find_others(site.fleet, servers)
        known = look_before(site.fleet, servers)
        peers = look_aside(others)
        alerts = RealDoors(site.fleet, (), who(), wish.alerts).find_alerts()
    memory = parse_memory(site.store.read_fleet())
    situation = Situation(known, memory, site.store.find_active(), alerts, named=bool(nodes), others=peers)
    problems = list(find_problems(situation, wish.release))
    placed = place_all(situation, wish)
    problems += [one for one in placed if isinstance(one, DsopsError)]
    if problems:
        raise join_problems(problems, wish.release)
    places = tuple(one for one in placed if isinstance(one, Place))
    rollout = _begin(situation, wish, places, number=0, epoch=Epoch())  # its own refusals too, before anybody is asked
    return Course(situation, rollout, places, bool(site.fleet.find_role("mon")), wish.alerts)


def place_all(situation: Situation, wish: Wish) -> list[Place | DsopsError]:
    """How it comes in on each node that holds it."""
    holding = [one for one in situation.nodes if one.is_there and one.holdings and one.holdings.find(wish.release)]
    return [
        find_place(one, wish.release, peers=find_peers(one, situation), unavailable=wish.rules.unavailable)
        for one in holding
    ]


def find_peers(one: Known, situation: Situation) -> list[Known]:
    """The others of its pool, named or not."""
    everybody = (*situation.nodes, *situation.others)
    return [peer for peer in everybody if peer.seen.pool == one.seen.pool and peer is not one]


def find_others(fleet: Fleet, servers: Sequence[Server]) -> list[Server]:
    """Those of the same pools that nobody named: how many are out counts them, too."""
    pools = {find_pool(server) for server in servers}
    return [one for one in fleet.find_role("gpu") if find_pool(one) in pools and one not in servers]


def begin_rollout(site: Site, wish: Wish, course: Course, note: Note) -> Kept:
    """Written down, with its epoch, and told to the audit; no node has heard of it yet."""

    def make(number: int, epoch: Epoch) -> str:
        return _begin(course.situation, wish, course.places, number=number, epoch=epoch).to_json()

    check_forward(site.store.folder, site.fleet.path, wish.release)  # the question may have waited for long
    kept = site.store.start(make, release=wish.release, who=who(), reason=wish.reason, at=time.time())
    names = ", ".join(known.name for known in course.situation.nodes)
    note.epoch, note.leaves = kept.epoch, render_before(course.rollout)
    note.add(f"rollout {kept.id} over {names}, steps {','.join(map(str, wish.rules.steps))} %")
    note.tell()
    return kept


def _begin(situation: Situation, wish: Wish, places: Sequence[Place], *, number: int, epoch: Epoch) -> Rollout:
    alone = {place.node for place in places if place.alone}
    seen = tuple(replace(known.seen, alone=known.name in alone) for known in situation.nodes)
    others = tuple(known.seen for known in situation.others)
    look = Look(time.time(), (*seen, *others), situation.alerts, situation.memory.halted)
    return begin(
        wish.release,
        id=str(number),
        who=who(),
        reason=wish.reason,
        epoch=epoch,
        rules=wish.rules,
        look=look,
        others=[one.node for one in others],
    )


def say_dry(course: Course, *, as_json: bool) -> None:
    """The plan alone."""
    if as_json:
        click.echo(json.dumps(to_data(course), ensure_ascii=False))
    else:
        make_console().print(render_course(course))


def ask(course: Course) -> bool:
    """The one question. Raises DsopsError when nobody is there to answer."""
    count = len(course.rollout.members)
    try:
        return click.confirm(f"Begin with {course.first}, then over {count} node{'s' * (count > 1)}?", default=False)
    except click.Abort as error:
        if sys.stdin.isatty():
            raise
        raise DsopsError("nobody answered, so nothing was changed", mend="add --yes in a script") from error
