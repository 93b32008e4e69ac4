"""The base system of the servers: a fresh minimal Debian 12, built once, without any package source in it."""

import fcntl
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab.mounts import get_mounts, remove_tree, unmount_below
from dsops.lab.place import Lab
from dsops.lab.run import run, write

SUITES = ("bookworm", "bookworm-updates", "bookworm-security")
# What Debian's installer leaves behind when only "SSH server" is ticked, less what a machine in a container
# cannot use (kernel, firmware, boot loader, udev, DHCP client). On purpose: no Python, curl, gnupg or sudo.
INCLUDED = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "iputils-ping", "procps", "kmod",
    "netbase", "nftables", "ca-certificates", "tzdata", "cron", "logrotate", "less",
)  # fmt: skip
FINISH = 1  # raise when finish() changes: the number is part of the recipe
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
TARGET_FORMAT = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"


@dataclass(frozen=True)
class Source:
    """One line of what this machine's own apt has: where Debian's packages come from."""

    uri: str
    suite: str
    component: str

    def __str__(self) -> str:
        return f"deb {self.uri} {self.suite} {self.component}"


def recipe() -> str:
    """The name of the base: a hash of all that decides what is in it (but not of where it came from)."""
    text = json.dumps([SUITES, INCLUDED, FINISH])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parse_targets(text: str) -> list[Source]:
    """Debian's own lists among those that apt has, in either file format; foreign ones are left out.

    text: what `apt-get indextargets` prints in TARGET_FORMAT. An unread list has no origin in it yet.
    """
    sources = []
    for line in text.splitlines():
        uri, suite, component, origin = (*line.split("|"), "", "", "", "")[:4]
        if origin == "Debian" and suite in SUITES and component == "main":
            sources.append(Source(uri, suite, component))
    return list(dict.fromkeys(sources))


def find_sources() -> list[Source]:
    argv = ["apt-get", "indextargets", "--format", TARGET_FORMAT, "Created-By: Packages"]
    return parse_targets(run(argv, check=False))


def parse_acquire(text: str) -> list[str]:
    """How this machine's apt reaches its mirror (proxy, validity of old lists), for the build only."""
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::ForceIPv")
    return [line for line in text.splitlines() if line.startswith(wanted) and not line.endswith(' "";')]


def find_base(lab: Lab) -> Path | None:
    """The built base of today's recipe."""
    root = lab.base / recipe()
    return root if (root / "etc/debian_version").exists() else None


def ensure_base(lab: Lab) -> bool:
    """Build the base unless it is there; whether it was built. A half-built one is begun anew."""
    if find_base(lab):
        return False
    lab.base.mkdir(parents=True, exist_ok=True)
    with (lab.base / "lock").open("a") as lock:  # labs may share the cache
        fcntl.flock(lock, fcntl.LOCK_EX)
        return not find_base(lab) and _build(lab)


def _build(lab: Lab) -> bool:
    building = lab.base / f"{recipe()}.building"
    discard(building)
    building.mkdir(parents=True)
    (building / "tmp").mkdir()
    debootstrap(lab, building, INCLUDED)
    finish(building / "root")
    (building / "root").rename(lab.base / recipe())
    discard(building)
    return True


def debootstrap(lab: Lab, building: Path, included: Sequence[str]) -> None:
    """A fresh system in building/root, from the mirrors that this machine itself has. Needs building/tmp."""
    sources = find_sources()
    if not sources:
        raise DsopsError("apt on this machine has no list of Debian 12 packages", mend="run `apt-get update`")
    options = [f"--aptopt={line}" for line in parse_acquire(run(["apt-config", "dump"]))]
    temporary = ["env", f"TMPDIR={building / 'tmp'}"]
    build = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", f"--keyring={KEYRING}"]
    rest = [f"--include={','.join(included)}", "bookworm", str(building / "root")]
    argv = [*temporary, *build, *options, *rest, *map(str, sources)]
    run(argv, timeout=1200, mark=lab.mark("build"), where="base system")


def discard(building: Path) -> None:
    unmount_below(building)
    remove_tree(building)


def finish(root: Path) -> None:
    """Make it anybody's: no package source, no host keys, no identity, no trace of this machine."""
    gone = [root / "etc/apt/sources.list", root / "etc/apt/apt.conf.d/99mmdebstrap", root / "etc/resolv.conf"]
    gone += [*root.glob("etc/ssh/ssh_host_*"), *root.glob("var/lib/apt/lists/*_*"), root / "etc/hostname"]
    gone += [*root.glob("var/log/*.log"), *root.glob("var/log/apt/*")]
    for path in gone:
        path.unlink(missing_ok=True)
    write(root / "etc/machine-id", "")
    write(root / "etc/default/locale", "LANG=C.UTF-8\n")
    run(["systemctl", "--quiet", f"--root={root}", "enable", "systemd-networkd"])


def purge_bases(lab: Lab) -> bool:
    """Delete the cache, unless another lab still runs on it."""
    lower = f"lowerdir={lab.base}/"
    if user := next((mount for mount in get_mounts() if lower in mount.options), None):
        raise DsopsError(f"the base systems in {lab.base} are in use", where=str(user.point), mend="end that lab first")
    existed = lab.base.exists()
    discard(lab.base)
    return existed
