"""`dsops release show ID`: what one release is, and where in the fleet it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from dsops.control.bundle.held import Held, find_held
from dsops.control.cli.release.list import echo_trouble
from dsops.control.cli.release.options import RELEASE, find_places
from dsops.control.cli.release.papers import Paper, read_papers
from dsops.control.fleet.inventory import get_fleet
from dsops.control.fleet.options import inventory_option
from dsops.control.fleet.releases import Listed, choose_servers, read_all
from dsops.control.progress import render_bytes
from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.core.passport import OLD, Passport, RunKind
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
    papers = read_papers(fleet, name, server=asked[0].server)
    if as_json:
        click.echo(json.dumps(to_data(name, held, places=places, papers=papers), ensure_ascii=False))
        return
    for line in [*render_about(name, held), *render_papers(papers), *render_places(places)]:
        click.echo(line)
    echo_trouble(asked)


def find_listed(listed: Sequence[Listed], release: str) -> Listed | None:
    """What one node says of it."""
    return next((one for one in listed if one.release == release), None)


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


def render_papers(papers: Sequence[Paper]) -> list[str]:
    """What it showed, for each kind of hardware."""
    if not papers:
        return ["  passport none; `dsops release passport NODE` makes one on a node where it has the traffic"]
    return [line for paper in papers for line in render_paper(paper)]


def render_paper(paper: Paper) -> list[str]:
    """One passport, or why it does not count."""
    one = paper.passport
    if one is None:
        mend = paper.error.mend if paper.error else ""
        return [f"  passport NOT GOOD: {paper.error}", *([f"    mend   {mend}"] if mend else [])]
    made = datetime.fromtimestamp(one.made_at).astimezone()
    engine = " ".join(word for word in (one.engine, f"({one.engine_version})" if one.engine_version else "") if word)
    several = [answered.prompt for answered in one.answers if len(answered.seen) > 1]
    lines = [
        f"  passport {one.hardware.says}",
        f"    answers {one.accepted} of {one.prompts} right in {render_runs(one)}"
        + (f"; in several words: {', '.join(several)}" if several else ""),
        f"    speed   {render_rates(one)}",
        f"    load    {render_loads(one)}",
        f"    made    {made:%Y-%m-%d %H:%M} on {one.node}, {engine or 'engine not known'}, signed by {paper.signer}",
    ]
    return lines + (["    format 1: an older dsops made it of one run; make it again"] if one.format == OLD else [])


def render_runs(one: Passport) -> str:
    """`each of 3 runs (1 cold, 2 warm)`."""
    if len(one.runs) == 1:
        return f"one {one.runs[0].kind} run"
    kinds = [f"{sum(run.kind is kind for run in one.runs)} {kind}" for kind in RunKind]
    return f"each of {len(one.runs)} runs ({', '.join(kinds)})"


def render_rates(one: Passport) -> str:
    """Median, least, and what a node must reach."""
    if one.rate is None or one.floor is None:
        return "not measured"
    return f"{one.rate:,.0f} tokens/s (least {min(one.rates):,.0f}); a node must reach {one.floor:,.0f}"


def render_loads(one: Passport) -> str:
    """From the disk and out of the page cache, each with the most that a node may need."""
    told = []
    is_known = any(run.cached is not None for run in one.runs)
    warm = " from the page cache" if is_known else ", nobody knows whether from the disk"
    for where, seconds, cached in ((" from the disk", one.cold_load, 0.0), (warm, one.warm_load, 1.0)):
        if seconds is not None:
            told.append(f"{seconds:.1f} s{where}, {one.find_load_bound(cached=cached):.0f} s at most")
    return "; ".join(told) or "not measured"


def render_places(places: Places) -> list[str]:
    """One line a node."""
    lines = []
    for node, one in places.items():
        where = f", slot {one.slot}" if one and one.slot else ""
        tier = f", {one.tier}" if one and one.tier != Tier.HOT else ""
        why = f": {one.bad}" if one and one.bad else ""
        fit = f", passport {one.fit_says}" if one and one.fit_says else ""
        damage = f"; DAMAGED: {one.damage}" if one and one.damage else ""
        lines.append(f"  {node:<8} " + (f"{one.state}{where}{tier}{fit}{why}{damage}" if one else "-"))
    return lines


def to_data(name: str, held: Held | None, *, places: Places, papers: Sequence[Paper]) -> dict[str, object]:
    """The same for machines."""
    return {
        "release": name,
        "path": str(held.path) if held else None,
        "manifest": json.loads(held.manifest) if held else None,
        "passports": [
            {
                "file": str(paper.file),
                "signer": paper.signer,
                "error": str(paper.error) if paper.error else None,
                "passport": asdict(paper.passport) if paper.passport else None,
            }
            for paper in papers
        ],
        "nodes": {node: asdict(one) if one else None for node, one in places.items()},
    }
