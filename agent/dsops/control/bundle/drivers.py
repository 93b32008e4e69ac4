"""Driver sets for the bundle: the pinned packages as an apt repository of their own, and the modules, built once."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from shutil import copyfile, rmtree

from dsops.catalog.locksets import get_lockset
from dsops.control.bundle.apt_sources import find_sources, read_codename, read_system
from dsops.control.bundle.debs import AptCache, AptKey, ensure_repository
from dsops.control.bundle.verify import hash_file
from dsops.control.run import run
from dsops.core.drivers.lockset import Lockset, Source
from dsops.core.errors import DsopsError

# Besides the distribution's own part: where Debian keeps NVIDIA's driver.
NON_FREE = ("main", "contrib", "non-free", "non-free-firmware")
SOURCE = re.compile(r"^(deb (?:\[[^\]]*\] )?\S+ \S+) .*$")
BUILD, CHROOT = 3600.0, 1200.0  # seconds
# DKMS reads /proc; what is mounted and runs in name spaces of its own is gone with them, also when it took too long.
ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
IN_ROOT = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
MEND = "as root, with mmdebstrap installed; or build the bundle with --dkms, and the servers build the modules"


@dataclass(frozen=True)
class Wanted:
    """Which sets the bundle shall have. sources: more apt lines, such as a mirror of NVIDIA's repository.

    is_dkms: no prebuilt modules: source, headers and compiler go to the servers, and DKMS builds there.
    """

    names: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    is_dkms: bool = False


NO_DRIVERS = Wanted()


def build_sets(wanted: Wanted, *, out: Path, cache: Path, key: AptKey, base: Collection[str]) -> None:
    """Makes `out`/<name> for each. base: file names of the .deb files that every server has from the bundle's base."""
    for name in wanted.names:
        build_set(get_lockset(name), wanted, out=out / name, cache=cache, key=key, base=base)


def build_set(
    lockset: Lockset,
    wanted: Wanted,
    *,
    out: Path,
    cache: Path,
    key: AptKey,
    base: Collection[str],
    own: Sequence[str] | None = None,
) -> None:
    """One set. own: apt lines instead of this machine's. Raises DsopsError where a pinned version is not offered."""
    system = read_system()
    if lockset.system != system:
        what = f"{lockset.name} is for {lockset.system}, this machine is {system}"
        raise DsopsError(what, where="--lockset", mend=f"build the bundle on {lockset.system}")
    apt = AptCache(cache / "apt-drivers", sources=choose_sources(lockset, wanted.sources, own=own))
    apt.update()
    debs = [deb for deb in apt.fetch(list_packages(lockset, is_dkms=wanted.is_dkms)) if deb.name not in base]
    ensure_repository(debs, out=out / "repo", key=key, kept=cache / "repositories")
    modules = {} if wanted.is_dkms else copy_modules(lockset, apt, out=out / "modules", cache=cache)
    about = {"lockset": asdict(lockset), "modules": modules}
    (out / "set.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")


def choose_sources(lockset: Lockset, more: Sequence[str], *, own: Sequence[str] | None = None) -> list[str]:
    """apt's lines: this machine's own, with Debian's non-free part where the set is from there, and `more`."""
    lines = list(find_sources() if own is None else own)
    if lockset.source is Source.DEBIAN:
        lines = [SOURCE.sub(rf"\1 {' '.join(NON_FREE)}", line) for line in lines]
    elif not more:
        what = f"{lockset.name} is from {lockset.source}, which is in no apt source of this machine's distribution"
        mend = "--driver-source 'deb [signed-by=KEYRING] URL ./', once for each source"
        raise DsopsError(what, where="--lockset", mend=mend)
    return [*lines, *more]


def list_packages(lockset: Lockset, *, is_dkms: bool) -> list[str]:
    """What apt is asked for, `name=version`."""
    pins = [f"{name}={version}" for name, version in lockset.pins.items()]
    tools = [*lockset.build, "dkms", name_headers(lockset)] if is_dkms else []
    return [*pins, *tools]


def name_headers(lockset: Lockset) -> str:
    """The headers of the set's kernel, for apt."""
    return f"linux-headers-{lockset.kernel.release}={lockset.kernel.version}"


def copy_modules(lockset: Lockset, apt: AptCache, *, out: Path, cache: Path) -> dict[str, str]:
    """The set's modules for its kernel in `out`, built the first time; file name -> sha256."""
    said = f"{lockset.system} {lockset.kernel} {lockset.build} {lockset.modules}"
    kept = cache / "modules" / f"{lockset.name}-{sha256(said.encode()).hexdigest()[:12]}"
    if not kept.exists():
        work = kept.with_name(f"{kept.name}.new")
        rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        build_modules(lockset, apt, work=work)
        work.rename(kept)
    out.mkdir(parents=True)
    found = {}
    for name in lockset.modules:
        copyfile(kept / f"{name}.ko", out / f"{name}.ko")
        found[f"{name}.ko"] = hash_file(out / f"{name}.ko")
    return found


def build_modules(lockset: Lockset, apt: AptCache, *, work: Path) -> None:
    """By DKMS in a root of its own, which goes again; leaves `work`/<module>.ko."""
    root, release = work / "root", lockset.kernel.release
    tools = ["dkms", "kmod", name_headers(lockset)]
    sources = (apt.folder / "etc/sources.list").read_text().splitlines()
    # mmdebstrap's apt does not read this machine's settings: how its mirror is reached, and how old a list may be.
    said = run(["apt-config", "dump"]).splitlines()
    options = [f"--aptopt={line}" for line in said if line.startswith(("Acquire::http", "Acquire::Check-"))]
    make = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--include={','.join(tools)}", *options]
    run([*make, read_codename(), root, *sources], timeout=CHROOT, mend=MEND)
    # Unpacked and not installed: its installer would build for whatever kernel runs here.
    for deb in fetch_source(lockset, apt):
        run(["dpkg-deb", "-x", deb, root], timeout=300)
    name, version = read_dkms(root)
    words = ["dkms", "build", "-m", name, "-v", version, "-k", release, "-j", "2"]
    log = f"{root}/var/lib/dkms/{name}/{version}/build/make.log"
    run([*ALONE, "sh", "-c", IN_ROOT, root, *words], timeout=BUILD, mend=f"read {log}")
    built = [get_built(root / f"var/lib/dkms/{name}/{version}/{release}", module) for module in lockset.modules]
    first = f"/{built[0].relative_to(root)}"
    check_built(lockset, lambda field: run(["chroot", root, "modinfo", "-F", field, first]))
    for file in built:
        copyfile(file, work / file.name)
    rmtree(root)


def fetch_source(lockset: Lockset, apt: AptCache) -> list[Path]:
    """The packages with the modules' source.

    Asked for with all that is pinned: alone they would want firmware of their version, of which apt takes the newest.
    """
    names = {word.partition("=")[0] for word in lockset.build}
    debs = apt.fetch([*list_packages(lockset, is_dkms=False), *lockset.build])
    return [deb for deb in debs if deb.name.split("_")[0] in names]


def read_dkms(root: Path) -> tuple[str, str]:
    """(name, version) of the module source that was unpacked. Raises DsopsError when there is not just one."""
    files = sorted(root.glob("usr/src/*/dkms.conf"))
    if len(files) != 1:
        raise DsopsError(f"{len(files)} module sources, one is needed", where=str(root / "usr/src"))
    text = files[0].read_text()
    values = dict(re.findall(r'^(PACKAGE_NAME|PACKAGE_VERSION)="?([^"\n]+)"?$', text, re.MULTILINE))
    return values["PACKAGE_NAME"], values["PACKAGE_VERSION"]


def get_built(folder: Path, module: str) -> Path:
    """A module that DKMS made. Raises DsopsError without it."""
    found = next(iter(sorted(folder.glob(f"*/module/{module}.ko"))), None)
    if found is None:
        made = ", ".join(sorted(path.name for path in folder.glob("*/module/*"))) or "nothing"
        raise DsopsError(f"DKMS did not make {module}.ko, but {made}", where=str(folder))
    return found


def check_built(lockset: Lockset, read: Callable[[str], str]) -> None:
    """Raises DsopsError when what was built is not the set's driver, or for another kernel. read: modinfo's field."""
    for field, wanted in (("version", lockset.driver), ("vermagic", lockset.kernel.release)):
        said = read(field).split()
        if not said or said[0] != wanted:
            what = f"the module that was built has {field} {said[0] if said else 'none'}, the set {wanted}"
            raise DsopsError(what, where=lockset.name, mend="mend the set in locksets.toml")
