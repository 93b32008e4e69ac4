"""`dsops node release ...`: brings releases in, shows them, gives one the traffic, takes others away."""

import json
import sys
from typing import IO, Any

import click

from dsops.core.errors import DsopsError
from dsops.core.state import to_data
from dsops.node.cli.follow import ask, ask_move, decode_state, follow, tell_move
from dsops.node.cli.main import Door, say
from dsops.node.cli.options import as_json, epoch, fleet_words, holder, person, wait
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

    Exit status: 0 asked for (with --wait: it has the traffic), 1 refused.
    """
    words = fleet_words(who=who, reason=reason, epoch=epoch, holder=holder)
    state = decode_state(ask_move(door, "activate", release=release, **words)["state"])
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
    """What is here: active, a way back (fallback), bad, or only held."""
    said = call(door.helper, "list")
    if as_json:
        click.echo(json.dumps(said))
        return
    for one in said["releases"]:
        why = f": {one['bad']}" if one["bad"] else ""
        slot = f"slot {one['slot']}" if one["slot"] else ""
        about = f"{one['model']} {one['quantization']} {one['engine']}"
        click.echo(f"{one['release']}  {one['state']:<8} {slot:<6}  {one['bytes'] / 1e6:>10.1f} MB  {about}{why}")


@release.command()
@click.argument("release")
@person
@as_json
@click.pass_obj
def remove(door: Door, release: str, who: str, reason: str, as_json: bool) -> None:
    """Takes RELEASE off this server's disk; refuses what is in use and the way back."""
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
