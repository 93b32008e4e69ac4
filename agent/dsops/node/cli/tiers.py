"""The local door between the tiers: tells beforehand how long a copy takes, and meanwhile how far it is."""

import sys
import threading
from collections.abc import Mapping
from typing import Any

import click

from dsops.core.errors import DsopsError
from dsops.core.tiers import ColdError, Tier, Way, render_seconds
from dsops.node.cli.main import Door
from dsops.node.helper.client import HelperLostError, call

# A big release on a slow disk; whoever does not want to wait may leave, and the helper goes on.
COPY_SECONDS = 7 * 86400.0
LOOK_SECONDS = 1.0
# A line so often, where no bar can be shown.
TELL_SECONDS = 15


def heat_first(door: Door, error: ColdError, *, who: str, reason: str) -> None:
    """Brings what lies cold to the hot tier, and says so. Raises DsopsError when that fails."""
    found = next((one for one in list_releases(door)["releases"] if one["release"] == error.release), None)
    about = f", about {render_seconds(found['copy_seconds'])}" if found and found.get("copy_seconds") else ""
    click.echo(f"{error.release} lies on the cold tier: it is copied first{about}", err=True)
    copy(door, "heat", release=error.release, who=who, reason=reason)


def list_releases(door: Door) -> dict[str, Any]:
    """The helper's list."""
    return call(door.helper, "list")


def copy(door: Door, verb: str, **words: Any) -> dict[str, Any]:
    """The helper's answer to a verb that copies. How far it is goes to standard error."""
    answers: list[dict[str, Any]] = []
    errors: list[DsopsError] = []

    def ask() -> None:
        try:
            answers.append(call(door.helper, verb, timeout=COPY_SECONDS, **words))
        except DsopsError as error:
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    for look in range(1, 1 << 62):
        thread.join(LOOK_SECONDS)
        if not thread.is_alive():
            break
        show(find_moving(door), is_due=look % TELL_SECONDS == 0)
    if errors:
        raise errors[0]
    if not answers:
        raise HelperLostError("the helper did not answer", mend="ask again: it goes on where it was")
    return answers[0]


def find_moving(door: Door) -> Mapping[str, Any] | None:
    """What is copied now; None when nothing is, or nobody says."""
    try:
        return (list_releases(door).get("cold") or {}).get("moving")
    except DsopsError:
        return None


def show(moving: Mapping[str, Any] | None, *, is_due: bool) -> None:
    """One line that is written over on a terminal, a line now and then elsewhere."""
    if moving is None:
        return
    if sys.stderr.isatty():
        click.echo(f"\r{render_moving(moving)}   ", nl=False, err=True)
    elif is_due:
        click.echo(render_moving(moving), err=True)


def render_moving(moving: Mapping[str, Any]) -> str:
    """What is copied, whereto, and how much of it."""
    far = f"{moving['done'] / 1e9:.1f} of {moving['total'] / 1e9:.1f} GB" if moving["total"] else "begins"
    return f"{moving['release']} to the {moving['to']} tier: {far}"


def render_start(one: Mapping[str, Any]) -> str:
    """How it would come to serve, and how soon; "" for what serves, and where nobody can say."""
    if one.get("seconds") is None or not one.get("way"):
        return ""
    return f"{one['way']}, {render_seconds(one['seconds'])}"


def render_tier(said: Mapping[str, Any]) -> list[str]:
    """The cold tier itself, in a line or two; nothing where there is none."""
    tier = said.get("cold")
    if not tier:
        return []
    if tier["reason"]:
        return [f"cold tier {tier['root']} is NOT THERE: {tier['reason']}"]
    how = "measured" if tier["measured"] else "assumed, nothing was measured here yet"
    free = "" if tier["free"] is None else f"{tier['free'] / 1e9:.1f} GB free, "
    lines = [f"cold tier {tier['root']}: {free}read at {tier['bytes_per_second'] / 1e6:.0f} MB/s ({how})"]
    return lines + ([f"now: {render_moving(tier['moving'])}"] if tier["moving"] else [])


def tell_lost(door: Door) -> str:
    """How a store that was begun anew gets a good release back from the cold tier; "" when it need not."""
    said = list_releases(door)
    good = (said.get("cold") or {}).get("good") or []
    if not good or any(one["state"] == "active" for one in said["releases"]):
        return ""
    one = next(one for one in said["releases"] if one["release"] == good[0])
    lies = "lies on the cold tier" if one["tier"] == Tier.COLD else "is here"
    first = "copies it to the hot tier and " if one["way"] == Way.COLD else ""
    return (
        f"nothing is active here, and {good[0]}, which was good before, {lies}: "
        f"`dsops node release activate {good[0]} --reason ...` {first}gives it the traffic"
        + (f" (about {render_seconds(one['seconds'])})" if one["seconds"] is not None else "")
    )
