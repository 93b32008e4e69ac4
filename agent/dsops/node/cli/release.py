"""`dsops node release ...`: brings releases in, shows them, gives one the traffic, takes others away."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import IO, Any

import click

from dsops.core.accept.certificate import Demand
from dsops.core.errors import DsopsError
from dsops.core.lanes import SHARES
from dsops.core.state import NodeState, to_data
from dsops.core.status import Phase, Verdict
from dsops.core.tiers import ColdError, render_seconds
from dsops.node.cli.follow import ask, ask_move, decode_state, follow, tell_move
from dsops.node.cli.main import Door, ask_gateway, get_status, say
from dsops.node.cli.measure import measure
from dsops.node.cli.moves import drive
from dsops.node.cli.options import as_json, epoch, fleet_words, holder, person, share, wait
from dsops.node.cli.passports import add_fits
from dsops.node.cli.tiers import copy, heat_first, list_releases, render_start, render_tier
from dsops.node.helper.client import call
from dsops.node.sources.gateway import judge_gateway
from dsops.node.store.config import read_store_config

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
    keys = ("manifest", "signature", "passport", "passport_signature", "passports")
    known = {key: said[key] for key in keys if key in said}
    if extra := sorted(said.keys() - known.keys()):
        raise DsopsError(f"unknown key {extra[0]!r}", where="standard input")
    click.echo(json.dumps(call(door.helper, "admit", timeout=HASH_SECONDS, **known)))


@release.command()
@click.argument("release")
@person
@share
@click.option("--alone", is_flag=True, help="Two copies do not fit: the one that serves stops first. Drain before.")
@click.option("--without-passport", is_flag=True, help="Whatever its passports say of this hardware: to make one here.")
@click.option("--uncertified", is_flag=True, help="Though the node was not accepted: `dsops accept` does that.")
@epoch
@holder
@wait(0.0)
@as_json
@click.pass_obj
def activate(
    door: Door,
    release: str,
    who: str,
    reason: str,
    *,
    share: int,
    alone: bool,
    without_passport: bool,
    uncertified: bool,
    epoch: int | None,
    holder: str,
    wait: float,
    as_json: bool,
) -> None:
    """Starts RELEASE beside the one that serves; it gets the traffic once its golden answers are right.

    With --share it only gets so much, until `widen` gives it more or `dsops node rollback` takes it back. One that
    lies on the cold tier is copied to the hot one first.

    Exit status: 0 asked for (with --wait: it has its traffic), 1 refused.
    """
    words = fleet_words(who=who, reason=reason, epoch=epoch, holder=holder) | ({"alone": True} if alone else {})
    words |= {} if share == max(SHARES) else {"share": share}
    words |= tell_hardware(door, without_passport=without_passport, uncertified=uncertified)
    if alone:
        check_drained(door)
    if share < max(SHARES):
        check_beside(door)
    try:
        said = ask_move(door, "activate", release=release, **words)
    except ColdError as error:
        heat_first(door, error, who=who, reason=reason)
        said = ask_move(door, "activate", release=release, **words)
    say_moved(door, decode_state(said["state"]), release, share=share, wait=wait, as_json=as_json)


def tell_hardware(door: Door, *, without_passport: bool, uncertified: bool) -> dict[str, Any]:
    """What the helper must know to judge by a release's passports, and by the node's certificate."""
    hardware = door.read_hardware()
    words: dict[str, Any] = {"without_passport": True} if without_passport else {}
    words |= {"uncertified": True} if uncertified else {}
    if not uncertified and wants_certificate(door) and (uuids := door.read_uuids()) is not None:
        words["gpus"] = list(uuids)
    return words | ({"hardware": asdict(hardware)} if hardware else {})


def wants_certificate(door: Door) -> bool:
    """Whether the helper will ask which GPUs there are; where nobody knows, it decides without."""
    try:
        return read_store_config(door.store).certificate is Demand.REQUIRED
    except DsopsError:
        return False


def check_drained(door: Door) -> None:
    """Raises DsopsError while traffic may come, from the gateway's own words: nothing would answer it."""
    if judge_gateway(ask_gateway(door, "/status")).drained is None:
        what = (
            "traffic still comes here, and nothing would answer it: alone, a release starts once the other has stopped"
        )
        raise DsopsError(what, mend="`dsops drain NODE --reason ...` first (here: `dsops node drain --reason ...`)")


def check_beside(door: Door) -> None:
    """Raises DsopsError while the agent says that the active slot does not serve: a canary is compared with it."""
    try:
        status = get_status(door)
    except DsopsError:
        return  # nobody says so, and without an agent no canary goes far
    why = status.ejected or (status.phase_reason or status.phase if status.phase is not Phase.SERVING else "")
    if status.verdict is Verdict.BAD:
        why = why or "it fails its checks"
    if status.release and why:
        what = f"{status.release} does not serve here ({why}): there is nothing that a canary could be compared with"
        raise DsopsError(what, mend="mend it first (`dsops why NODE`), or activate the new one without --share")


def say_moved(door: Door, state: NodeState, release: str, *, share: int, wait: float, as_json: bool) -> None:
    """What became of a move, after so many seconds of waiting. Raises DsopsError when the release was refused."""
    if wait:
        ended = follow(door, release, seconds=wait, share=share)
        state = ended.state
        if not ended.has_traffic:
            drive(door, state, seconds=wait)  # what had stopped for it starts again
            raise DsopsError(f"{release} was refused: {ended.reason}", mend="`dsops node history`; `dsops node logs`")
    say(as_json, tell_traffic(state, release), {"ok": True, "release": release, "state": to_data(state)})


def tell_traffic(state: NodeState, release: str) -> str:
    """How much of the traffic a release has, or what it waits for."""
    if state.canary and state.canary.release == release:
        return f"{release} has {state.canary.share} % of the traffic"
    has_all = state.active is not None and state.active.release == release
    return f"{release} has the traffic" if has_all else tell_move(state.move)


@release.command()
@click.argument("release")
@person
@share
@epoch
@holder
@wait(0.0)
@as_json
@click.pass_obj
def widen(
    door: Door,
    release: str,
    who: str,
    reason: str,
    *,
    share: int,
    epoch: int | None,
    holder: str,
    wait: float,
    as_json: bool,
) -> None:
    """Gives RELEASE, which is out as a canary, a larger share of the traffic; with 100 it takes over.

    Exit status: 0 it has it, 1 refused.
    """
    words = fleet_words(who=who, reason=reason, epoch=epoch, holder=holder)
    said = ask_move(door, "widen", release=release, share=share, **words)
    say_moved(door, decode_state(said["state"]), release, share=share, wait=wait, as_json=as_json)


@release.command("list")
@as_json
@click.pass_obj
def list_(door: Door, as_json: bool) -> None:
    """What is here: active, a way back (fallback), bad, or only held; on which tier, and how soon it could serve."""
    said = add_fits(list_releases(door), door.read_hardware())
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
    share = f"; {one['share']} % of the traffic" if 0 < one["share"] < 100 else ""
    passport = {"fits": "; passport", "none": "", "": ""}.get(one["fit"], f"; passport {one['fit']}: {one['fit_says']}")
    about = f"{one['model']} {one['quantization']} {one['engine']}"
    size = f"{one['bytes'] / 1e6:>10.1f} MB"
    place = f"{one['tier']:<8} {render_start(one):<17}"
    return f"{one['release']}  {one['state']:<8} {slot:<6}  {size}  {place} {about}{share}{passport}{why}{damage}"


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


release.add_command(measure)

COMMANDS = (release,)
