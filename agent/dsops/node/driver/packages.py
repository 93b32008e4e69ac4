"""The set's packages: installed from its own local repository in just these versions, pinned and held."""

import shutil
from collections.abc import Mapping

from dsops.core.drivers import lockset as names
from dsops.core.errors import DsopsError
from dsops.node.driver.place import DriverSet, Place, write
from dsops.node.run import Runner

APT_CONF = "/etc/dsops/apt.conf"
LISTS, SOURCE = f"{names.FOLDER}/lists", f"{names.FOLDER}/apt.list"
DPKG, APT = 1800.0, 1800.0  # seconds; DKMS builds modules within
APT_WORDS = ("-y", "-qq", "--no-install-recommends", "--allow-downgrades", "--allow-change-held-packages")
ENV = ("DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_SUSPEND=1")


def install(place: Place, wanted: DriverSet, *, before: Mapping[str, str], run: Runner) -> None:
    """before: name -> version of the set that was; what the new one lacks of it goes. Raises DsopsError."""
    pins = wanted.carried.pins
    write(place / names.PREFERENCES, render_preferences(wanted.lockset.name, pins))
    options = make_options(place, wanted)
    _must(run, ["env", f"APT_CONFIG={place / APT_CONF}", "apt-get", *options, "update", "-qq"], 300.0)
    apt = ["env", f"APT_CONFIG={place / APT_CONF}", *ENV, "apt-get", *options, "install", *APT_WORDS]
    mend(wanted, apt, run=run)
    gone = [f"{name}-" for name in find_installed([name for name in before if name not in pins], run=run)]
    extra = [] if wanted.carried.is_prebuilt else ["dkms", f"linux-headers-{wanted.lockset.kernel.release}"]
    _must(run, [*apt, *[f"{name}={version}" for name, version in pins.items()], *extra, *gone], APT)
    _must(run, ["apt-mark", "hold", *pins], 60.0)


def mend(wanted: DriverSet, apt: list[str], *, run: Runner) -> None:
    """What a cut left half done, and what apt refuses to go on from: unpacked again, out of this set.

    The packages want each other in one version, so half of them can neither be configured nor left; and apt would
    have to find the very version that was being replaced. What they want besides, apt brings before it is asked for
    more. apt: its words for an install.
    """
    configure = ["env", *ENV, "dpkg", "--configure", "-a", "--force-confdef", "--force-confold"]
    run(configure, timeout=DPKG)
    if not run(["dpkg", "--audit"], timeout=60).stdout.strip():
        return
    pins = wanted.carried.pins
    there = find_installed(list(pins), run=run)
    again = {name for name, version in pins.items() if there.get(name) != version} | find_broken(run=run)
    files = [str(file) for file in sorted((wanted.path / "repo").glob("*.deb")) if file.name.split("_")[0] in again]
    if files:
        _must(run, ["env", *ENV, "dpkg", "--unpack", "--force-depends", "--force-confold", *files], DPKG)
    run(configure, timeout=DPKG)
    run([*apt, "--fix-broken"], timeout=APT)


def make_options(place: Place, wanted: DriverSet) -> list[str]:
    """apt's options that let it see this set and nothing else: going back needs no network and no bundle."""
    repository = wanted.path / "repo"
    (place / LISTS / "partial").mkdir(parents=True, exist_ok=True)
    write(place / SOURCE, f"deb [signed-by={repository}/keyring.gpg] file:{repository} ./\n")
    pairs = {
        "Dir::Etc::sourcelist": str(place / SOURCE),
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": str(place / LISTS),
    }
    return [word for key, value in pairs.items() for word in ("-o", f"{key}={value}")]


def render_preferences(name: str, pins: Mapping[str, str]) -> str:
    """apt's pins: also a person's `apt upgrade` leaves the set alone, and `apt install` goes back to it."""
    head = f"# Written by dsops (role driver): {name} is one set. Change it by driver_lockset and a deploy.\n"
    blocks = [f"Package: {key}\nPin: version {version}\nPin-Priority: 1001\n" for key, version in pins.items()]
    return head + "\n".join(blocks)


def prune(place: Place, keep: set[str]) -> None:
    """Sets that nobody would go back to."""
    for path in sorted(place.sets.iterdir()):
        if path.name not in keep and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _must(run: Runner, argv: list[str], timeout: float) -> None:
    done = run(argv, timeout=timeout)
    if done.code:
        said = (done.stderr or done.stdout).strip()[-1500:]
        raise DsopsError(f"exit {done.code}: {' '.join(argv[:6])} ...: {said}", mend=f"as root: {' '.join(argv)}")


def find_installed(wanted: list[str], *, run: Runner) -> dict[str, str]:
    """name -> version of those that are installed whole."""
    if not wanted:
        return {}
    shown = "${Package} ${db:Status-Status} ${Version}\n"
    rows = (line.split() for line in run(["dpkg-query", "-W", f"-f={shown}", *wanted]).stdout.splitlines())
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1] == "installed"}


def find_broken(*, run: Runner) -> set[str]:
    """Packages that are neither installed nor away."""
    shown = "${Package} ${db:Status-Status} ${db:Status-Eflag}\n"
    rows = (line.split() for line in run(["dpkg-query", "-W", f"-f={shown}"]).stdout.splitlines())
    whole = {"installed", "config-files", "not-installed"}
    return {row[0] for row in rows if len(row) == 3 and (row[1] not in whole or row[2] != "ok")}


def find_held(*, run: Runner) -> frozenset[str]:
    """What apt may not change."""
    return frozenset(run(["apt-mark", "showhold"]).stdout.split())
