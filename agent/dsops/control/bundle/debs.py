"""Collects Debian packages with all that they depend on, and makes a small signed apt repository of them."""

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import copyfile, rmtree

from dsops.control.bundle.apt_sources import find_sources
from dsops.control.bundle.place import copy_tree
from dsops.control.bundle.verify import hash_file
from dsops.control.run import run
from dsops.core.errors import DsopsError

INST = re.compile(r"Inst ([^\s:]+)\S* (?:\[\S+\] )?\((\S+) .*\[([\w-]+)\]\)")
MEND = "apt-get install apt-utils gnupg"
REACH = "is the mirror in /etc/apt reachable?"


@dataclass(frozen=True)
class AptKey:
    """The key that signs our repositories: a GnuPG home, made on first use."""

    home: Path


def read_packages(file: Path) -> list[str]:
    """The package names of a role's packages.txt, without comments."""
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


def ensure_apt_key(home: Path) -> AptKey:
    """Makes a signing key without passphrase in the GnuPG home unless there is one."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = AptKey(home)
    # Not by the key ring's file: that is there before the key is.
    if "\nsec:" not in "\n" + _gpg(key, "--list-secret-keys", "--with-colons"):
        _gpg(key, "--passphrase", "", "--quick-generate-key", "dsops bundle", "ed25519", "sign", "never")
    return key


def _gpg(key: AptKey, *words: str | Path) -> str:
    """Runs gpg with this home, and leaves none of its daemons behind."""
    try:
        return run(["gpg", "--homedir", key.home, "--batch", "--yes", *words], mend=MEND)
    finally:
        run(["gpgconf", "--homedir", key.home, "--kill", "gpg-agent"], mend=MEND)


class AptCache:
    """A private apt beside the machine's own: it thinks that nothing is installed, so every dependency is fetched."""

    def __init__(self, folder: Path, *, sources: list[str] | None = None) -> None:
        self.folder = folder
        for name in ("lists/partial", "archives/partial", "etc"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "status").touch()
        (folder / "etc/sources.list").write_text("\n".join(sources or find_sources()) + "\n")

    @property
    def options(self) -> list[str]:
        """The -o options that point apt at the private folders."""
        pairs = {
            "Dir::State::lists": self.folder / "lists",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache::archives": self.folder / "archives",
            "Dir::Cache::pkgcache": self.folder / "pkgcache.bin",
            "Dir::Cache::srcpkgcache": self.folder / "srcpkgcache.bin",
            "Dir::Etc::sourcelist": self.folder / "etc/sources.list",
            "Dir::Etc::sourceparts": "-",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "true",
            # Old lists of an unreachable mirror would pass for today's.
            "APT::Update::Error-Mode": "any",
        }
        return [word for key, value in pairs.items() for word in ("-o", f"{key}={value}")]

    def update(self) -> None:
        """Fetches the package lists."""
        run(["apt-get", *self.options, "update", "-qq"], timeout=300, mend=REACH)

    def fetch(self, packages: list[str]) -> list[Path]:
        """Downloads the packages and all that they depend on; returns the .deb files."""
        words = ["apt-get", *self.options, "install", "-y", "-qq"]
        planned = render_file_names(run([*words, "--simulate", *packages], timeout=120))
        run([*words, "--download-only", *packages], timeout=900, mend=REACH)
        files = [self.folder / "archives" / name for name in planned]
        lost = [file for file in files if not file.is_file()]
        if lost:
            raise DsopsError("apt-get planned this package but did not bring it", where=str(lost[0]), mend=REACH)
        return files


def render_file_names(simulation: str) -> list[str]:
    """The .deb file names that belong to the `Inst` lines of `apt-get --simulate`. Raises on one it cannot read."""
    return [_render_file_name(line) for line in simulation.splitlines() if line.startswith("Inst ")]


def _render_file_name(line: str) -> str:
    match = INST.match(line)
    if match is None:
        raise DsopsError(f"apt-get says what is not understood: {line}")
    name, version, architecture = match.groups()
    return f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"


def ensure_repository(debs: list[Path], *, out: Path, key: AptKey, kept: Path) -> None:
    """Copies the repository of these packages to `out`; makes it, and keeps it below `kept`, the first time."""
    parts = [_gpg(key, "--armor", "--export"), *(f"{deb.name} {hash_file(deb)}" for deb in sorted(debs))]
    name = sha256("\n".join(parts).encode()).hexdigest()[:16]
    if not (kept / name).exists():
        work = kept / f"{name}.new"
        if work.exists():
            rmtree(work)
        build_repository(debs, out=work, key=key)
        work.rename(kept / name)
    copy_tree(kept / name, out)


def build_repository(debs: list[Path], *, out: Path, key: AptKey) -> None:
    """Makes a flat, signed apt repository in `out` from .deb files. No Valid-Until: it must not expire in the room."""
    if not debs:
        raise DsopsError("a repository needs at least one package", where=str(out))
    out.mkdir(parents=True)
    for deb in debs:
        copyfile(deb, out / deb.name.replace("%3a", "_"))
    (out / "Packages").write_text(run(["apt-ftparchive", "packages", "."], cwd=out, timeout=300, mend=MEND))
    release = run(["apt-ftparchive", "-o", "APT::FTPArchive::Release::Label=dsops", "release", "."], cwd=out, mend=MEND)
    (out / "Release").write_text(release)
    _gpg(key, "--clearsign", "-o", out / "InRelease", out / "Release")
    _gpg(key, "--export", "-o", out / "keyring.gpg")
