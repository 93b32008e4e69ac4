"""`dsops bundle`: build and verify what crosses the air gap."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from dsops.control.bundle.build import Plan, build_bundle
from dsops.control.bundle.checkout import find_root
from dsops.control.bundle.drivers import Wanted
from dsops.control.bundle.sign import LAB_NAMESPACE, SITE_NAMESPACE, ensure_signer
from dsops.control.bundle.verify import SUMS, verify_bundle
from dsops.control.progress import Steps
from dsops.core.errors import DsopsError
from dsops.core.sums import parse_sums

LAB = Path("/var/lib/dsops-lab")
PROFILE = "model_repo/checkpoints/tiny-r1/release.toml"
# Absolute at the door: parts of the work run in other folders.
FOLDER = click.Path(path_type=Path, file_okay=False, resolve_path=True)
FILE = click.Path(path_type=Path, dir_okay=False, resolve_path=True)
THERE = click.Path(path_type=Path, dir_okay=False, resolve_path=True, exists=True)


@click.group()
def bundle() -> None:
    """Build and verify what crosses the air gap."""


@bundle.command()
@click.option("--root", type=FOLDER, default=Path(), help="The checkout. Default: the one around this folder.")
@click.option("--profile", type=FILE, help=f"The release.toml of the model. Default: {PROFILE}.")
@click.option("--out", type=FOLDER, help="The folder that holds bundles. Default: build/bundle, or the lab's.")
@click.option("--signer", type=FOLDER, help="The folder with the signing key; made on first use.")
@click.option("--cache", type=FOLDER, help="Where downloads are kept. Default: beside the bundles.")
@click.option("--lab", is_flag=True, help="Sign for the lab only, and put the bundle where the lab looks.")
@click.option("--keep", type=click.IntRange(min=1), default=3, show_default=True, help="How many bundles stay.")
@click.option("--fresh", is_flag=True, help="Build though nothing changed here: fetches newer Debian packages.")
@click.option("--lockset", multiple=True, metavar="NAME", help="A set of GPU drivers to carry; docs/drivers.md.")
@click.option("--driver-source", multiple=True, metavar="LINE", help="One more apt source for the driver sets.")
@click.option("--dkms", is_flag=True, help="The servers build the drivers' modules; else they are built here.")
@click.option("--image", type=THERE, multiple=True, help="An OCI archive NAME.oci.tar to carry; docs/containers.md.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def build(
    root: Path,
    profile: Path | None,
    out: Path | None,
    signer: Path | None,
    cache: Path | None,
    lab: bool,
    keep: int,
    fresh: bool,
    lockset: tuple[str, ...],
    driver_source: tuple[str, ...],
    dkms: bool,
    image: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Collect packages, wheels, Triton, engine, model, dsops and the checkout; sum them up; sign."""
    root = find_root(root)
    out = out or (LAB / "bundle" if lab else root / "build/bundle")
    signer = signer or (LAB / "secrets" if lab else root / "build/signer")
    name, namespace = ("dsops-lab", LAB_NAMESPACE) if lab else ("dsops-release", SITE_NAMESPACE)
    plan = Plan(
        root=root,
        profile=profile or root / PROFILE,
        out=out,
        cache=cache or out.parent / "cache",
        signer=ensure_signer(signer, name=name, namespace=namespace),
        keep=keep,
        fresh=fresh,
        drivers=Wanted(lockset, driver_source, dkms),
        images=image,
    )
    with Steps(Console(stderr=True)) as steps:
        built = build_bundle(plan, step=steps.start)
    if as_json:
        click.echo(json.dumps({"path": str(built.path), "id": built.id, "release": built.release, "made": built.made}))
    else:
        click.echo(f"bundle {built.id} with release {built.release} " + ("made" if built.made else "is up to date"))
        click.echo(f"  {built.path}\n  signers: {signer / 'allowed_signers'}")


@bundle.command()
@click.argument("path", type=FOLDER)
@click.option("--allowed-signers", type=FILE, required=True, help="Who may have signed it. Never out of the bundle.")
@click.option("--namespace", default=SITE_NAMESPACE, show_default=True, help=f"The lab's is {LAB_NAMESPACE}.")
def verify(path: Path, allowed_signers: Path, namespace: str) -> None:
    """Refuse a bundle with any changed, extra or missing file, or a wrong signer."""
    total = _read_size(path)
    columns = TextColumn("verifying"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not total) as bar:
        task = bar.add_task("", total=total)
        proven = verify_bundle(
            path, allowed_signers=allowed_signers, namespace=namespace, tick=lambda n: bar.advance(task, n)
        )
    click.echo(f"OK: {len(proven.sums.files)} files, signed by {proven.signer} for {namespace}")


def _read_size(path: Path) -> int:
    """Bytes that will be hashed; 0 (no bar) when the sums cannot be read, which verify_bundle explains."""
    try:
        names = parse_sums((path / SUMS).read_text(), where=SUMS).files
        return sum((path / name).stat().st_size for name in names)
    except (OSError, ValueError, DsopsError):
        return 0
