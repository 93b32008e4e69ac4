"""The local door's verbs of the checks: what they say, what is normal here, and maintenance."""

import getpass
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

import click

from dsops.core.checklist import Checklist
from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.core.maintenance import USUAL_SECONDS, parse_span, render_time
from dsops.node.checks.rules import get_rules
from dsops.node.cli.main import Door, get_from_agent, say
from dsops.node.cli.options import as_json, person
from dsops.node.helper.client import call

SECONDS = 30.0
# More would be no sentence any more; `dsops node checks` has them all.
NAMED = 5


@click.command()
@as_json
@click.pass_obj
def checks(door: Door, as_json: bool) -> None:
    """What every check saw last here, as the agent says it; `dsops doctor NODE` shows it as a table."""
    seen = get_checklist(door)
    if as_json:
        click.echo(seen.to_json())
        return
    for check in seen.checks:
        if check.skipped:
            click.echo(f"{'SKIPPED':<8} {check.name}: {check.skipped}")
        for item in check.items:
            says = f": {item.reason}" if item.reason else ""
            click.echo(f"{'BAD' if item.is_finding else item.verdict:<8} {item.entity} {item.code}{says}")


@click.command()
@person
@click.option("--force", is_flag=True, help="Also while something is wrong here.")
@as_json
@click.pass_obj
def freeze(door: Door, who: str, reason: str, force: bool, as_json: bool) -> None:
    """Keeps what is normal here now, for the checks that compare with it; not while a finding is BAD."""
    seen = get_checklist(door)
    bad = [f"{item.entity} {item.code}" for item in seen.items if item.is_finding]
    if bad and not force:
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        what = f"something is wrong here, and would become normal: {', '.join(bad[:NAMED])}{more}"
        raise DsopsError(what, mend="mend it: `dsops doctor NODE`; or --force, where that is how it is meant to be")
    words: dict[str, Any] = {"force": True} if force else {}
    numbers = [asdict(one) for one in seen.normal]
    said = call(door.helper, "freeze", timeout=SECONDS, who=who, reason=reason, numbers=numbers, **words)
    say(as_json, f"{said['numbers']} numbers are normal here from now on", said)


@click.command()
@click.option("--reason", default="", help="Why; kept and shown to whoever looks.")
@click.option("--who", default=getpass.getuser, help="Who asks; the default is this account.")
@click.option("--for", "span", default="", metavar="SPAN", help="How long, such as 90m or 1d; 2h, and 7d at most.")
@click.option("--checks", multiple=True, metavar="PATTERN", help="Only these, such as 'gpu.*'; without it the node.")
@click.option("--end", is_flag=True, help="It is over.")
@as_json
@click.pass_obj
def maintenance(
    door: Door, reason: str, who: str, span: str, checks: tuple[str, ...], end: bool, as_json: bool
) -> None:
    """For a while dsops looks, and does nothing by itself here; it ends by itself."""
    if end:
        if reason or span or checks:
            raise DsopsError("--end takes no other words", where="--end", mend="one after the other")
        said = call(door.helper, "maintain", timeout=SECONDS, who=who, end=True)
        say(as_json, f"ended: {said['ended']}", said)
        return
    if not reason.strip():
        raise DsopsError("the reason is empty", where="--reason", mend='--reason "replacing a fan"')
    seconds = parse_span(span) if span else USUAL_SECONDS
    check_patterns(checks)
    words: dict[str, Any] = {"checks": list(checks)} if checks else {}
    said = call(door.helper, "maintain", timeout=SECONDS, who=who, reason=reason, seconds=seconds, **words)
    say(as_json, f"in maintenance until {render_time(said['until'])}", said)


def check_patterns(patterns: tuple[str, ...]) -> None:
    """Raises DsopsError for one that no check's code fits: nothing would be covered."""
    codes = list(get_rules().rules)
    for pattern in patterns:
        if not any(fnmatchcase(code, pattern) for code in codes):
            mend = f"{suggest(pattern, codes)}; a family: '{codes[0].partition('.')[0]}.*'"
            raise DsopsError(f"no check says {pattern!r}", where="--checks", mend=mend)


def get_checklist(door: Door) -> Checklist:
    """From the agent. Raises DsopsError when it does not answer."""
    return Checklist.from_json(get_from_agent(door, "/v1/checks").body, where=door.agent)


COMMANDS = (checks, freeze, maintenance)
