"""Is the bundle whole, signed by somebody whom the site allows, and of this dsops; and for which system is it?"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from dsops import __version__
from dsops.control.bundle.release import MANIFEST
from dsops.control.bundle.sign import RELEASE_NAMESPACES, verify
from dsops.control.bundle.verify import SUMS, verify_bundle
from dsops.control.doctor.finding import Finding, from_error, ok, problem, skipped
from dsops.control.doctor.site import BundleFacts, Site
from dsops.core.errors import DsopsError
from dsops.core.sums import parse_sums

# Every repository of ours carries the C library, and its version tells the system.
LIBC = re.compile(r"^Package: libc6\n(?:[^\n]+\n)*?Version: (\d+\.\d+)", re.MULTILINE)
FORMAT = 1


def find_bundle(site: Site) -> Path | None:
    """The one that the inventory names, links resolved; None when it names none."""
    named = [server for server in site.fleet.servers if server.data.get("bundle_path")]
    return site.fleet.get_path(named[0], "bundle_path").resolve() if named else None


def find_facts(site: Site) -> BundleFacts | None:
    """What the inventory's bundle says of itself; None when it cannot be read, which check_bundle explains."""
    path = find_bundle(site)
    try:
        return read_facts(path, systems=site.systems) if path else None
    except DsopsError:
        return None


def read_size(path: Path) -> int:
    """Bytes that verifying will read; 0 when that cannot be said."""
    try:
        names = parse_sums((path / SUMS).read_text(), where=SUMS).files
        return sum((path / name).stat().st_size for name in names)
    except (OSError, ValueError, DsopsError):
        return 0


def read_facts(path: Path, *, systems: Mapping[str, str]) -> BundleFacts:
    """What the bundle says of itself. Raises DsopsError when it is none."""
    mend = "give the folder that `dsops bundle build` made"
    try:
        about = json.loads((path / "bundle.json").read_text())
        packages = (path / "apt/base/Packages").read_text()
        names = parse_sums((path / SUMS).read_text(), where=str(path / SUMS)).files
        sizes = [(name, (path / name).stat().st_size) for name in names]
    except (OSError, ValueError) as error:
        raise DsopsError(f"cannot be read as a bundle ({error})", where=str(path), mend=mend) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise DsopsError("is a bundle of another format", where=str(path / "bundle.json"), mend=mend)
    system = find_system(packages, systems=systems)
    return BundleFacts(str(about.get("release", "")), system, str(about.get("dsops", "")), add_sizes(sizes))


def find_system(packages: str, *, systems: Mapping[str, str]) -> str:
    """`debian 12` and its like, from an apt repository's Packages file; empty when it does not tell."""
    match = LIBC.search(packages)
    return systems.get(match[1], "") if match else ""


def add_sizes(files: list[tuple[str, int]]) -> dict[str, int]:
    """Bytes below each folder of one and of two names."""
    sizes: dict[str, int] = {}
    for name, size in files:
        parts = name.split("/")
        for depth in range(1, min(3, len(parts))):
            folder = "/".join(parts[:depth])
            sizes[folder] = sizes.get(folder, 0) + size
    return sizes


def check_bundle(site: Site, *, tick: Callable[[int], None]) -> list[Finding]:
    """Proves every file. tick gets the bytes read; it is the longest of all checks."""
    path = find_bundle(site)
    if path is None:
        return []  # check_values says that bundle_path must be given
    server = next(server for server in site.fleet.servers if server.data.get("bundle_path"))
    if not server.data.get("bundle_allowed_signers"):
        return [skipped("bundle", str(path), "not verified: bundle_allowed_signers is not given")]
    signers = site.fleet.get_path(server, "bundle_allowed_signers")
    namespace = str(site.value(server, "bundle_namespace"))
    try:
        proven = verify_bundle(path, allowed_signers=signers, namespace=namespace, tick=tick)
        facts = read_facts(path, systems=site.systems)
    except DsopsError as error:
        return [from_error("bundle", error, where=str(path))]
    judged = judge_bundle(facts, where=str(path), signer=proven.signer, files=len(proven.sums.files))
    return judged + (check_release(path, facts.release, signers=signers, namespace=namespace) if facts.release else [])


def check_release(path: Path, release: str, *, signers: Path, namespace: str) -> list[Finding]:
    """Every node proves the release's own signature, and would refuse it after all the rest was deployed."""
    manifest, wanted = path / "releases" / release / MANIFEST, RELEASE_NAMESPACES.get(namespace, namespace)
    try:
        verify(manifest, allowed_signers=signers, namespace=wanted)
    except DsopsError as error:
        mend = f'the signer\'s line in {signers} needs namespaces="{namespace},{wanted}"; else build the bundle again'
        return [problem("bundle", str(manifest), f"the nodes would refuse it: {error.what}", mend=mend)]
    return []


def judge_bundle(facts: BundleFacts, *, where: str, signer: str, files: int) -> list[Finding]:
    """A bundle that was proven whole: does it go with this dsops?"""
    if facts.version != __version__:
        what = f"carries dsops {facts.version or '?'}, and this is {__version__}: the roles here are not its own"
        return [problem("bundle", where, what, mend="run dsops out of the bundle's own checkout")]
    if not facts.release:
        return [problem("bundle", where, "carries no release", mend="build it again")]
    system = facts.system or "a system that it does not name"
    return [ok("bundle", where, f"{files} files as signed by {signer}; release {facts.release}, for {system}")]
