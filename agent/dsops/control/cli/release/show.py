"""`dsops release show ID`: what one release is, and where in the fleet it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from dsops.control.bundle.held import Held, find_held
from dsops.control.cli.release.list import echo_trouble
from dsops.control.cli.release.options import RELEASE, find_places, get_passport_file
from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.control.fleet.releases import Listed, choose_servers, read_all
from dsops.control.progress import render_bytes
from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.core.passport import Passport, parse_passport
from dsops.core.prompts import parse_prompts
from dsops.core.tiers import Tier

Places = Mapping[str, Listed | None]


@click.command()
@click.argument("release", type=RELEASE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
@inventory_option
def show(release: str, as_json: bool, inventory: Path) -> None:
    """What RELEASE is, as far as this machine holds it, and on which nodes it is."""
    fleet = get_fleet(inventory)
    held = find_held(release, places=find_places(fleet))
    name = held.id if held else release
    asked = read_all(fleet, choose_servers(fleet, ()))
    places = {outcome.server.name: find_listed(outcome.value or (), name) for outcome in asked}
    if held is None and not any(places.values()):
        known = sorted({one.release for outcome in asked for one in outcome.value or ()})
        raise DsopsError(f"no release {release!r} here, nor on a node that answers", mend=suggest(release, known))
    passport = read_passport(get_passport_file(fleet, name))
    if as_json:
        click.echo(json.dumps(to_data(name, held, places=places, passport=passport), ensure_ascii=False))
        return
    for line in [*render_about(name, held), *render_passport(passport), *render_places(places)]:
        click.echo(line)
    echo_trouble(asked)


def find_listed(listed: Sequence[Listed], release: str) -> Listed | None:
    """What one node says of it."""
    return next((one for one in listed if one.release == release), None)


def read_passport(file: Path) -> Passport | None:
    """None when none was made. Raises DsopsError when it cannot be read."""
    return parse_passport(file.read_bytes(), where=str(file)) if file.is_file() else None


def render_about(name: str, held: Held | None) -> list[str]:
    """From the manifest."""
    if held is None:
        return [name, "  not on this machine; what the nodes say:"]
    made, size = held.release, sum(entry.size for entry in held.release.files.values())
    prompts = parse_prompts((held.path / made.prompts).read_bytes(), where=str(held.path / made.prompts))
    limits, probe = made.limits, made.probe
    return [
        f"{name}  {made.model} {made.quantization}, engine {made.engine}",
        f"  files    {len(made.files)}, {render_bytes(size)}, in {held.path}",
        f"  limits   {limits.context} tokens of context, {limits.max_tokens} of an answer, "
        f"{limits.sequences} at once, {limits.queue} waiting",
        f"  proof    {len(prompts)} golden prompts; loads within {probe.load_seconds} s; "
        f"a probe takes at most {probe.answer_seconds} s",
    ]


def render_passport(passport: Passport | None) -> list[str]:
    """What it showed on a node."""
    if passport is None:
        return ["  passport none; `dsops release passport NODE` takes one from a node that proved it"]
    made = datetime.fromtimestamp(passport.made_at).astimezone()
    on = ", ".join(sorted(set(passport.gpus))) or "CPU"
    speed = "" if passport.tokens_per_second is None else f", {passport.tokens_per_second:,.0f} tokens/s"
    said = f"{passport.accepted} of {passport.prompts} answers right, loaded in {passport.load_seconds:.1f} s{speed}"
    return [f"  passport {said} on {passport.node} ({on}), {made:%Y-%m-%d %H:%M}"]


def render_places(places: Places) -> list[str]:
    """One line a node."""
    lines = []
    for node, one in places.items():
        where = f", slot {one.slot}" if one and one.slot else ""
        tier = f", {one.tier}" if one and one.tier != Tier.HOT else ""
        why = f": {one.bad}" if one and one.bad else ""
        lines.append(f"  {node:<8} " + (f"{one.state}{where}{tier}{why}" if one else "-"))
    return lines


def to_data(name: str, held: Held | None, *, places: Places, passport: Passport | None) -> dict[str, object]:
    """The same for machines."""
    return {
        "release": name,
        "path": str(held.path) if held else None,
        "manifest": json.loads(held.manifest) if held else None,
        "passport": asdict(passport) if passport else None,
        "nodes": {node: asdict(one) if one else None for node, one in places.items()},
    }
