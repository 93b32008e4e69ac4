"""Builds a bundle: every part that the servers need, in one directory named by its content, signed."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import copyfile, rmtree

from dsops import __version__
from dsops.control.bundle.checkout import copy_checkout, list_files
from dsops.control.bundle.debs import AptCache, ensure_apt_key, ensure_repository, read_packages
from dsops.control.bundle.release import build_release
from dsops.control.bundle.sign import Signer, sign
from dsops.control.bundle.triton_runtime import build_triton_runtime
from dsops.control.bundle.verify import SIGNATURE, SUMS, hash_file, read_sums
from dsops.control.bundle.wheels import build_own_wheel, copy_wheels, fetch_wheels
from dsops.core.errors import DsopsError

HERE = Path(__file__).parent
Step = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to build and where. profile: the release.toml of the model; out: the folder that holds bundles."""

    root: Path
    profile: Path
    out: Path
    cache: Path
    signer: Signer


@dataclass(frozen=True)
class Built:
    """A finished bundle. made is False when the inputs were the same as last time."""

    path: Path
    id: str
    release: str
    made: bool


def build_bundle(plan: Plan, *, step: Step = lambda _: None) -> Built:
    """Builds the bundle unless its inputs are the same as of the newest one. step hears each part's name."""
    inputs = read_inputs(plan)
    last = find_current(plan.out)
    if last and _read_inputs_of(last) == inputs:
        return Built(last, last.name.removeprefix("bundle-"), _read_release_of(last), made=False)
    plan.out.mkdir(parents=True, exist_ok=True)
    with _workplace(plan.out) as work:
        release = _build_parts(plan, work, step=step)
        step("sums and signature")
        return _finish(plan, work, inputs=inputs, release=release)


def read_inputs(plan: Plan) -> str:
    """A digest of all that the bundle is made from: the checkout's files, the signer, the mirror's choice of system."""
    digest = sha256(f"{sys.version_info[:2]} {plan.signer.key}".encode())
    for name in list_files(plan.root):
        digest.update(f"{name} {hash_file(plan.root / name)}\n".encode())
    return digest.hexdigest()


def find_current(out: Path) -> Path | None:
    """The bundle that `out`/current points to, if it is there and finished."""
    link = out / "current"
    return link.resolve() if (link / SIGNATURE).is_file() else None


def _build_parts(plan: Plan, work: Path, *, step: Step) -> str:
    step("Debian packages")
    _build_apt(plan, work / "apt")
    locks = plan.root / "locks"
    for name in ("node", "control", "engine-openvino"):
        step(f"wheels: {name}")
        lock = locks / f"{name}.lock"
        copy_wheels(fetch_wheels(lock, cache=plan.cache / "wheels"), lock=lock, out=work / "wheels" / name)
    step("dsops")
    copy_wheels([build_own_wheel(plan.root, out=plan.cache / "own")], lock=None, out=work / "wheels/dsops")
    step("Triton")
    build_triton_runtime(fetch_wheels(locks / "triton.lock", cache=plan.cache / "wheels")[0], work / "triton")
    step("release")
    release = build_release(plan.profile, root=plan.root, out=work / "releases").id
    step("checkout")
    copy_checkout(plan.root, out=work / "checkout")
    return release


def _build_apt(plan: Plan, out: Path) -> None:
    cache = AptCache(plan.cache / "apt")
    cache.update()
    key = ensure_apt_key(plan.signer.key.parent / "gnupg")
    base = cache.fetch(read_packages(plan.root / "roles/base/packages.txt"))
    kept = plan.cache / "repositories"
    ensure_repository(base, out=out / "base", key=key, kept=kept)
    for file in sorted(plan.root.glob("roles/*/packages.txt")):
        if file.parent.name != "base":
            more = [deb for deb in cache.fetch(read_packages(file)) if deb not in base]
            ensure_repository(more, out=out / file.parent.name, key=key, kept=kept)


def _finish(plan: Plan, work: Path, *, inputs: str, release: str) -> Built:
    about = {
        "format": 1,
        "dsops": __version__,
        "release": release,
        "inputs": inputs,
        "namespace": plan.signer.namespace,
    }
    (work / "bundle.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    copyfile(HERE / "VERIFY.sh", work / "VERIFY.sh")
    (work / "VERIFY.sh").chmod(0o755)
    sums = read_sums(work)
    (work / SUMS).write_text(sums.render())
    sign(work / SUMS, plan.signer)
    final = plan.out / f"bundle-{sums.id}"
    if final.exists():
        rmtree(final)
    work.rename(final)
    _point(plan.out / "current", final.name)
    return Built(final, sums.id, release, made=True)


def _point(link: Path, target: str) -> None:
    new = link.with_name(link.name + ".new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(link)


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A folder beside the bundles that is gone afterwards, whatever happens; left-overs of a kill go first."""
    work = out / ".building"
    if work.exists():
        rmtree(work)
    work.mkdir()
    try:
        yield work
    finally:
        if work.exists():
            rmtree(work)


def _read_about(bundle: Path) -> dict[str, object]:
    try:
        about = json.loads((bundle / "bundle.json").read_text())
    except (OSError, ValueError) as error:
        raise DsopsError("not a bundle (bundle.json)", where=str(bundle), mend="run `dsops bundle build`") from error
    return dict(about)


def _read_inputs_of(bundle: Path) -> object:
    return _read_about(bundle).get("inputs")


def _read_release_of(bundle: Path) -> str:
    return str(_read_about(bundle)["release"])
