"""`dsops release build`: a model with its engine, limits and golden prompts becomes a signed release."""

import json
from pathlib import Path

import click
from rich.console import Console

from dsops.control.bundle.checkout import find_root
from dsops.control.bundle.held import Held, read_held
from dsops.control.bundle.place import locked, told_in_words
from dsops.control.bundle.release import build_release, find_profile
from dsops.control.bundle.sign import LAB_NAMESPACE, SITE_NAMESPACE, Signer, ensure_signer
from dsops.control.cli.release.options import FOLDER, LAB, find_releases
from dsops.control.progress import Steps, render_bytes
from dsops.core.passport import FEWEST, MOST
from dsops.core.prompts import parse_prompts


@click.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, resolve_path=True))
@click.option("--root", type=FOLDER, default=Path(), help="The checkout. Default: the one around this folder.")
@click.option("--out", type=FOLDER, help="The folder that holds releases. Default: build/releases.")
@click.option("--signer", type=FOLDER, help="The folder with the signing key; made on first use.")
@click.option("--lab", is_flag=True, help="Sign for the lab only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for machines.")
def build(model: Path, root: Path, out: Path | None, signer: Path | None, lab: bool, as_json: bool) -> None:
    """Build a release of MODEL, a folder with a release.toml, or such a file. Equal content gives the same release."""
    root = find_root(root)
    key = choose_signer(root, signer, lab=lab)
    with Steps(Console(stderr=True)) as steps:
        steps.start("copy, sum up, sign")
        held = make_release(find_profile(model), root=root, out=out or find_releases(root), signer=key)
    size = sum(entry.size for entry in held.release.files.values())
    if as_json:
        click.echo(json.dumps({"release": held.id, "path": str(held.path), "bytes": size}))
    else:
        click.echo(render(held, size=size))


def choose_signer(root: Path, folder: Path | None, *, lab: bool) -> Signer:
    """The key that `dsops bundle build` takes as well; made on first use."""
    folder = folder or (LAB / "secrets" if lab else root / "build/signer")
    name, namespace = ("dsops-lab", LAB_NAMESPACE) if lab else ("dsops-release", SITE_NAMESPACE)
    return ensure_signer(folder, name=name, namespace=namespace)


def make_release(profile: Path, *, root: Path, out: Path, signer: Signer) -> Held:
    """Lays it out below `out`; one builder at a time."""
    with told_in_words(out), locked(out):
        return read_held(out / build_release(profile, root=root, out=out, signer=signer).id)


def render(held: Held, *, size: int) -> str:
    """What was made, where it lies, and what comes next."""
    made = held.release
    prompts = parse_prompts((held.path / made.prompts).read_bytes(), where=made.prompts)
    about = f"{made.model} {made.quantization}, {made.engine}, {len(made.files)} files, {render_bytes(size)}"
    few = (
        "" if FEWEST <= len(prompts) <= MOST else f"  too few or too many for a passport: {FEWEST} to {MOST} prompts\n"
    )
    return (
        f"release {held.id} made: {about}, {len(prompts)} golden prompts\n"
        f"{few}  {held.path}\n"
        f"  next: dsops release push {held.id}"
    )
