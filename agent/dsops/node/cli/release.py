"""`dsops node release ...`: brings releases in, shows them, gives one the traffic, takes others away."""

import json
import sys
from collections.abc import Mapping
from typing import IO, Any

import click

from dsops.core.errors import DsopsError
from dsops.core.state import to_data
from dsops.core.tiers import ColdError, render_seconds
from dsops.node.cli.follow import ask, ask_move, decode_state, follow, tell_move
from dsops.node.cli.main import Door, say
from dsops.node.cli.options import as_json, epoch, fleet_words, holder, person, wait
from dsops.node.cli.tiers import copy, heat_first, list_releases, render_start, render_tier
from dsops.node.helper.client import call

# Reading a big release back and hashing it takes its time.
HASH_SECONDS = 3600.0
LIMIT = 32 << 20


@click.group()
def release() -> None:
    """The releases of this server."""


def read_json(stream: IO[bytes], kind: type, *, what: str) -> Any:
    """JSON from standard input. Raises DsopsError when it is something else."""
    try:
        data = json.loads(stream.read(LIMIT))
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"{what} is not JSON ({error})", where="standard input") from error
    if not isinstance(data, kind):
        raise DsopsError(f"{what} should be a {kind.__name__}", where="standard input")
    return data


@release.command()
@click.pass_obj
def have(door: Door) -> None:
    """Reads a JSON list of sha256 sums; says as JSON which of them are missing here."""
    sums = read_json(sys.stdin.buffer, list, what="the list of sums")
    click.echo(json.dumps(call(door.helper, "have", sums=sums)))


@release.command()
@click.argument("sha256")
@click.option("--size", type=click.IntRange(0), required=True, help="Bytes of the whole.")
@click.option("--offset", type=click.IntRange(0), default=0, show_default=True, help="Where the input begins.")
@click.pass_obj
def receive(door: Door, sha256: str, size: int, offset: int) -> None:
    """Takes one file's content from standard input; what was cut goes on from --offset."""
    words = {"sha256": sha256, "size": size, "offset": offset}
    said = call(door.helper, "receive", timeout=HASH_SECONDS, payload=sys.stdin.buffer, **words)
    click.echo(json.dumps(said))


@release.command()
@click.pass_obj
def admit(door: Door) -> None:
    """Reads JSON with manifest and signature (and passport); all content must be here already."""
    said = read_json(sys.stdin.buffer, dict, what="the release")
    known = {key: said[key] for key in ("manifest", "signature", "passport", "passport_signature") if key in said}
    if extra := sorted(said.keys() - known.keys()):
        raise DsopsError(f"unknown key {extra[0]!r}", where="standard input")
    click.echo(json.dumps(call(door.helper, "admit", timeout=HASH_SECONDS, **known)))


@release.command()
@click.argument("release")
@person
@epoch
@holder
@wait(0.0)
@as_json
@click.pass_obj
def activate(
    door: Door, release: str, who: str, reason: str, epoch: int | None, holder: str, wait: float, as_json: bool
) -> None:
    """Starts RELEASE beside the one that serves; it gets the traffic once its golden answers are right.

    One that lies on the cold tier is copied to the hot one first.

    Exit status: 0 asked for (with --wait: it has the traffic), 1 refused.
    """
    words = fleet_words(who=who, reason=reason, epoch=epoch, holder=holder)
    try:
        said = ask_move(door, "activate", release=release, **words)
    except ColdError as error:
        heat_first(door, error, who=who, reason=reason)
        said = ask_move(door, "activate", release=release, **words)
    state = decode_state(said["state"])
    if wait:
        ended = follow(door, release, seconds=wait)
        state = ended.state
        if not ended.has_traffic:
            raise DsopsError(f"{release} was refused: {ended.reason}", mend="`dsops node history`; `dsops node logs`")
    line = f"{release} has the traffic" if wait else tell_move(state.move)
    say(as_json, line, {"ok": True, "release": release, "state": to_data(state)})


@release.command("list")
@as_json
@click.pass_obj
def list_(door: Door, as_json: bool) -> None:
    """What is here: active, a way back (fallback), bad, or only held; on which tier, and how soon it could serve."""
    said = list_releases(door)
    if as_json:
        click.echo(json.dumps(said))
        return
    for one in said["releases"]:
        click.echo(render_release(one))
    for line in render_tier(said):
        click.echo(line)


def render_release(one: Mapping[str, Any]) -> str:
    """One line. why: what is wrong with it."""
    why = f": {one['bad']}" if one["bad"] else ""
    damage = "".join(f"; DAMAGED: {said}" for said in dict.fromkeys((one["damage"], one["cold_damage"])) if said)
    slot = f"slot {one['slot']}" if one["slot"] else ""
    about = f"{one['model']} {one['quantization']} {one['engine']}"
    size = f"{one['bytes'] / 1e6:>10.1f} MB"
    place = f"{one['tier']:<8} {render_start(one):<17}"
    return f"{one['release']}  {one['state']:<8} {slot:<6}  {size}  {place} {about}{why}{damage}"


@release.command()
@click.argument("release")
@click.option("--keep-hot", is_flag=True, help="Only copy: the hot tier goes on holding it as well.")
@person
@as_json
@click.pass_obj
def cool(door: Door, release: str, keep_hot: bool, who: str, reason: str, as_json: bool) -> None:
    """Moves RELEASE to the cold tier: copied, read back and hashed there before anything goes here.

    Refuses what must be quick: what is in use, and the ways back. Cut off, it goes on where it was.
    """
    said = copy(door, "cool", release=release, who=who, reason=reason, keep_hot=keep_hot)
    went = "the cold tier holds it as well" if keep_hot else f"lies cold, {said['freed'] / 1e6:.1f} MB came free"
    say(as_json, f"{release}: {went}", said)


@release.command()
@click.argument("release")
@person
@as_json
@click.pass_obj
def heat(door: Door, release: str, who: str, reason: str, as_json: bool) -> None:
    """Brings RELEASE back from the cold tier, each byte proven by hash. Cut off, it goes on where it was.

    No traffic moves: that is what `activate` and `rollback` are for.
    """
    said = copy(door, "heat", release=release, who=who, reason=reason)
    took = f"{said['bytes'] / 1e6:.1f} MB were copied in {render_seconds(said['seconds'])}"
    say(as_json, f"{release} lies hot" + (f", {took}" if said["bytes"] else " already"), said)


@release.command()
@click.argument("release")
@person
@as_json
@click.pass_obj
def remove(door: Door, release: str, who: str, reason: str, as_json: bool) -> None:
    """Takes RELEASE off this server's disks; refuses what is in use and the way back."""
    said = call(door.helper, "remove", timeout=HASH_SECONDS, release=release, who=who, reason=reason)
    say(as_json, f"{release} is gone, {said['freed'] / 1e6:.1f} MB came free", said)


@release.command("unmark-bad")
@click.argument("release")
@person
@as_json
@click.pass_obj
def unmark_bad(door: Door, release: str, who: str, reason: str, as_json: bool) -> None:
    """Lets RELEASE come again."""
    state = ask(door, "unmark", release=release, who=who, reason=reason)
    say(as_json, f"{release} may come again", {"ok": True, "state": to_data(state)})


@release.command("confirm-bad")
@click.argument("release")
@person
@as_json
@click.pass_obj
def confirm_bad(door: Door, release: str, who: str, reason: str, as_json: bool) -> None:
    """Keeps RELEASE out until somebody unmarks it."""
    state = ask(door, "confirm", release=release, who=who, reason=reason)
    say(as_json, f"{release} stays out until it is unmarked", {"ok": True, "state": to_data(state)})


@release.command(hidden=True)
@click.argument("path")
@click.pass_obj
def adopt(door: Door, path: str) -> None:
    """For deploys: a folder below the store's staging becomes a release, without a copy."""
    click.echo(json.dumps(call(door.helper, "adopt_tree", timeout=HASH_SECONDS, path=path)))


COMMANDS = (release,)
