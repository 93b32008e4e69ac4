"""Builds a bundle: every part that the servers need, in one directory named by its content, signed."""

import json
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from shutil import copyfile, rmtree

from dsops import __version__
from dsops.control.bundle.apt_sources import read_system
from dsops.control.bundle.checkout import copy_checkout, list_files, read_revision
from dsops.control.bundle.debs import AptCache, ensure_apt_key, ensure_repository, read_packages
from dsops.control.bundle.drivers import NO_DRIVERS, Wanted, build_sets
from dsops.control.bundle.images import copy_images
from dsops.control.bundle.place import locked, point, settle, told_in_words, workplace
from dsops.control.bundle.release import build_release, find_prompts, find_weights
from dsops.control.bundle.sign import Signer, sign
from dsops.control.bundle.target import Target, get_target
from dsops.control.bundle.triton_runtime import build_triton_runtime
from dsops.control.bundle.verify import SIGNATURE, SUMS, hash_file, read_sums, verify_bundle, walk
from dsops.control.bundle.wheels import build_own_wheel, copy_wheels, fetch_wheels
from dsops.core.errors import DsopsError

HERE = Path(__file__).parent
NAME = re.compile(r"bundle-[0-9a-f]{12}")
Step = Callable[[str], None]
Parts = Callable[["Plan", Path, Step], str]


@dataclass(frozen=True)
class Plan:
    """What to build and where. All paths absolute.

    profile: the release.toml of the model; out: the folder that holds bundles; keep: how many of them stay;
    fresh: build although no input changed, for newer Debian packages; drivers: sets of GPU drivers that it shall have;
    images: OCI archives that slots may run from
    """

    root: Path
    profile: Path
    out: Path
    cache: Path
    signer: Signer
    keep: int = 3
    fresh: bool = False
    drivers: Wanted = NO_DRIVERS
    images: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Built:
    """A finished bundle. made is False when the inputs were the same as last time."""

    path: Path
    id: str
    release: str
    made: bool


def build_bundle(plan: Plan, *, step: Step = lambda _: None, parts: Parts | None = None) -> Built:
    """Builds the bundle unless its inputs are the same as of the newest one. step hears each part's name.

    parts: fills a folder with the parts and returns the release's id; for tests.
    """
    with told_in_words(plan.out), ExitStack() as locks:
        for folder in sorted({plan.out, plan.cache}):
            locks.enter_context(locked(folder))
        step("what is new")
        inputs = read_inputs(plan)
        last = None if plan.fresh else _find_same(plan, inputs)
        if last:
            return last
        with workplace(plan.out) as work:
            release = (parts or build_parts)(plan, work, step)
            step("sums and signature")
            built = _finish(plan, work, inputs=inputs, release=release)
        prune(plan.out, keep=plan.keep)
        return built


def read_inputs(plan: Plan) -> str:
    """A digest of all that the bundle is made from: the checkout, the model, the signer, this machine's system."""
    public = plan.signer.key.with_suffix(".pub").read_text()
    digest = sha256(f"{sys.version_info[:2]} {read_system()} {plan.signer.namespace} {public}".encode())
    digest.update(f"{read_revision(plan.root)!r} {plan.drivers}".encode())
    files = [(name, plan.root / name) for name in list_files(plan.root)]
    # The model may lie outside of the checkout, or be too big for git.
    profile = [("release.toml", plan.profile), ("prompts", find_prompts(plan.profile))]
    model = [*profile, *walk(find_weights(plan.profile))]
    images = [(f"images/{image.name}", image) for image in plan.images]
    for name, file in [*files, *model, *images]:
        digest.update(f"{name} {file.stat().st_mode & 0o100} {hash_file(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def find_current(out: Path) -> Path | None:
    """The bundle that `out`/current points to, if it is there and finished."""
    link = out / "current"
    return link.resolve() if (link / SIGNATURE).is_file() else None


def prune(out: Path, *, keep: int) -> list[Path]:
    """Removes all but the newest `keep` bundles, never the current one; returns what went."""
    bundles = [folder for folder in out.glob("bundle-*") if NAME.fullmatch(folder.name)]
    newest = sorted(bundles, key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
    current = find_current(out)
    old = [folder for folder in newest[max(keep, 1) :] if folder.resolve() != current]
    for folder in [*old, *out.glob(".bundle-*.old")]:
        rmtree(folder)
    return old


def _find_same(plan: Plan, inputs: str) -> Built | None:
    """The current bundle if it was made from these inputs and is still whole: a damaged one is made again."""
    last = find_current(plan.out)
    if last is None:
        return None
    allowed = plan.signer.allowed_signers
    try:
        about = json.loads((last / "bundle.json").read_text())
        if about["inputs"] != inputs:
            return None
        verify_bundle(last, allowed_signers=allowed, namespace=plan.signer.namespace)
        return Built(last, last.name.removeprefix("bundle-"), str(about["release"]), made=False)
    except (OSError, ValueError, LookupError, TypeError, DsopsError):
        return None


def build_parts(plan: Plan, work: Path, step: Step) -> str:
    """Fills `work` with all that the servers need; returns the release's id."""
    target = get_target(plan.root, read_system())
    step("Debian packages")
    _build_apt(plan, work / "apt", target)
    locks = plan.root / "locks"
    wheels, python = plan.cache / "wheels", target.python_version
    for name in ("node", "control", "engine-openvino"):
        step(f"wheels: {name}")
        lock = locks / f"{name}.lock"
        copy_wheels(fetch_wheels(lock, cache=wheels, python=python), lock=lock, out=work / "wheels" / name)
    step("dsops")
    copy_wheels([build_own_wheel(plan.root, out=plan.cache / "own")], lock=None, out=work / "wheels/dsops")
    step("Triton")
    build_triton_runtime(fetch_wheels(locks / "triton.lock", cache=wheels, python=python)[0], work / "triton")
    step("images")
    copy_images(plan.images, out=work / "images")
    step("release")
    release = build_release(plan.profile, root=plan.root, out=work / "releases", signer=plan.signer).id
    step("checkout")
    copy_checkout(plan.root, out=work / "checkout")
    return release


def _build_apt(plan: Plan, out: Path, target: Target) -> None:
    cache = AptCache(plan.cache / "apt")
    cache.update()
    key = ensure_apt_key(plan.signer.key.parent / "gnupg")
    base = cache.fetch(target.get_packages(read_packages(plan.root / "roles/base/packages.txt")))
    kept = plan.cache / "repositories"
    ensure_repository(base, out=out / "base", key=key, kept=kept)
    for file in sorted(plan.root.glob("roles/*/packages.txt")):
        if file.parent.name != "base":
            more = [deb for deb in cache.fetch(target.get_packages(read_packages(file))) if deb not in base]
            ensure_repository(more, out=out / file.parent.name, key=key, kept=kept)
    build_sets(plan.drivers, out=out.parent / "drivers", cache=plan.cache, key=key, base={deb.name for deb in base})


def _finish(plan: Plan, work: Path, *, inputs: str, release: str) -> Built:
    revision = read_revision(plan.root)
    about = {
        "format": 1,
        "dsops": __version__,
        "release": release,
        "inputs": inputs,
        "namespace": plan.signer.namespace,
        "system": read_system(),
        "git": asdict(revision) if revision else None,
    }
    (work / "bundle.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    copyfile(HERE / "VERIFY.sh", work / "VERIFY.sh")
    (work / "VERIFY.sh").chmod(0o755)
    sums = read_sums(work)
    (work / SUMS).write_text(sums.render())
    sign(work / SUMS, plan.signer)
    final = plan.out / f"bundle-{sums.id}"
    settle(work, final)
    point(plan.out / "current", final.name)
    return Built(final, sums.id, release, made=True)
