"""Can this machine carry a lab? All that is missing is said at once, each with its mend."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab.mounts import Mount, get_mounts
from dsops.lab.network import find_conflict
from dsops.lab.place import Lab
from dsops.lab.run import read, run, search_path, succeeds

# Program -> the Debian package that brings it.
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "gcc": "gcc",
    "ip": "iproute2",
    "nft": "nftables",
    "mkfs.ext4": "e2fsprogs",
    "losetup": "mount",
    "ssh": "openssh-client",
}
PACKAGES = (*sorted(set(PROGRAMS.values())), "libc6-dev", "debian-archive-keyring")
NEED_GB = 8  # base 0.3, five servers with all that a deploy puts on them, and room
NO_UPPER = {
    "overlay",
    "nfs",
    "nfs4",
    "vfat",
    "9p",
    "fuseblk",
    "cifs",
}  # file systems overlayfs cannot write on


@dataclass(frozen=True)
class Facts:
    """What the checks look at, so that a test can say otherwise."""

    root: bool
    system: str  # ID VERSION_ID of os-release
    programs: frozenset[str]
    features: frozenset[str]  # of the kernel
    free_gb: float
    file_system: str  # under the lab
    conflict: str = ""  # a foreign route into the lab's addresses
    whole: bool = False  # all servers are made: no more disk is needed


@dataclass(frozen=True)
class Problem:
    what: str
    mend: str


FEATURES = {
    "overlayfs": "overlay",
    "bridge": "bridge",
    "veth": "veth",
    "loop": "loop",
    "nftables": "nf_tables",
}


def check_machine(facts: Facts, *, place: str = "/var/lib/dsops-lab") -> list[Problem]:
    """Every reason why a lab cannot run here; [] when it can."""
    problems = []
    if not facts.root:
        problems.append(Problem("the lab needs root: it mounts, and makes bridges and machines", "run it with sudo"))
    if facts.system != "debian 12":
        what = f"this system is {facts.system or 'unknown'}; the lab is made for Debian 12"
        problems.append(Problem(what, "use a Debian 12 machine, or a virtual one"))
    problems += [*_check_programs(facts), *_check_kernel(facts), *_check_disk(facts, place)]
    if facts.conflict:
        mend = "end what uses these addresses (a VPN, another bridge)"
        problems.append(Problem(f"this machine already has a route into the lab's addresses: {facts.conflict}", mend))
    return problems


def _check_programs(facts: Facts) -> list[Problem]:
    missing = [program for program in PROGRAMS if program not in facts.programs]
    packages = sorted({PROGRAMS[program] for program in missing})
    mend = f"apt-get install --no-install-recommends {' '.join(packages)}"
    return [Problem(f"not installed: {', '.join(missing)}", mend)] if missing else []


def _check_kernel(facts: Facts) -> list[Problem]:
    missing = [name for name in FEATURES if name not in facts.features]
    modules = " ".join(FEATURES[name] for name in missing)
    mend = f"modprobe -a {modules}; in a container, ask for a real or virtual machine"
    return [Problem(f"the kernel lacks: {', '.join(missing)}", mend)] if missing else []


def _check_disk(facts: Facts, place: str) -> list[Problem]:
    problems = []
    if facts.free_gb < NEED_GB and not facts.whole:
        what = f"{facts.free_gb:.1f} GB are free under {place}; the lab needs {NEED_GB} GB"
        problems.append(Problem(what, f"free some, or mount a bigger disk at {place}"))
    if facts.file_system in NO_UPPER:
        what = f"{place} lies on {facts.file_system}, over which overlayfs cannot be written"
        problems.append(Problem(what, f"mount an ext4, xfs or btrfs file system at {place}"))
    return problems


def require(problems: list[Problem]) -> None:
    """Raise one error that names them all."""
    if problems:
        lines = "".join(f"\n  - {problem.what}\n    mend: {problem.mend}" for problem in problems)
        raise DsopsError(f"this machine cannot carry the lab:{lines}")


def get_facts(lab: Lab) -> Facts:
    existing = next(path for path in (lab.root, *lab.root.parents) if path.exists())
    root = os.geteuid() == 0
    return Facts(
        root=root,
        system=_system(read(Path("/etc/os-release"))),
        programs=frozenset(name for name in PROGRAMS if _find_program(name)),
        # Only root can ask the kernel; who is not root hears of that first.
        features=frozenset(name for name in FEATURES if not root or _has_feature(name)),
        free_gb=shutil.disk_usage(existing).free / 1e9,
        file_system=_file_system(get_mounts(), existing),
        conflict=find_conflict(lab, _routes()),
        whole=all(lab.home(server).prepared.exists() for server in lab.servers),
    )


def _find_program(name: str) -> str | None:
    return shutil.which(name, path=search_path())


def _routes() -> str:
    return run(["ip", "-json", "-4", "route"], check=False) if _find_program("ip") else ""


def _system(os_release: str) -> str:
    facts = dict(line.partition("=")[::2] for line in os_release.splitlines() if "=" in line)
    return f"{facts.get('ID', '')} {facts.get('VERSION_ID', '')}".replace('"', "").strip()


def _file_system(mounts: list[Mount], path: Path) -> str:
    holding = [mount for mount in mounts if path.is_relative_to(mount.point)]
    return max(reversed(holding), key=lambda mount: len(mount.point.parts)).kind if holding else ""


def _has_feature(name: str) -> bool:
    """Ask the kernel; a module that is not loaded yet is loaded first."""
    if name == "overlayfs":
        return _knows("overlay") or (_load("overlay") and _knows("overlay"))
    if name == "loop":
        control = Path("/dev/loop-control")
        return control.exists() or (_load("loop") and control.exists())
    if name == "nftables":
        return not _find_program("nft") or succeeds(["nft", "list", "tables"])
    return not _find_program("ip") or _makes_link(name)


def _knows(file_system: str) -> bool:
    return any(line.split()[-1:] == [file_system] for line in read(Path("/proc/filesystems")).splitlines())


def _load(module: str) -> bool:
    return bool(_find_program("modprobe")) and succeeds(["modprobe", "-q", module])


def _makes_link(kind: str) -> bool:
    """Try it, in a network of its own that ends with the try: a kernel without the kind refuses the link."""
    return succeeds(["unshare", "--net", "ip", "link", "add", "try0", "type", kind])


METAL_PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "blkid": "util-linux"}
METAL_GB = 6  # the image, and what a deploy puts on two guests' disks
METAL_MEMORY_GB = 6  # two guests of 2.5 GiB, and what qemu itself takes


@dataclass(frozen=True)
class MetalFacts:
    """What else the guests need."""

    programs: frozenset[str]
    has_tun: bool
    free_gb: float
    memory_gb: float  # available
    whole: bool = False  # all guests are made and run, or were made before: no more disk is needed


def check_metal(facts: MetalFacts, *, place: str = "/var/lib/dsops-lab") -> list[Problem]:
    """Every reason why guests cannot run here; [] when they can."""
    problems = []
    if missing := [name for name in METAL_PROGRAMS if name not in facts.programs]:
        packages = sorted({METAL_PROGRAMS[name] for name in missing})
        mend = f"apt-get install --no-install-recommends {' '.join(packages)}"
        problems.append(Problem(f"not installed: {', '.join(missing)}", mend))
    if not facts.has_tun:
        problems.append(Problem("the kernel gives no tap devices (/dev/net/tun)", "modprobe tun"))
    if facts.free_gb < METAL_GB and not facts.whole:
        what = f"{facts.free_gb:.1f} GB are free under {place}; two guests need {METAL_GB} GB"
        problems.append(Problem(what, f"free some, or mount a bigger disk at {place}"))
    if facts.memory_gb < METAL_MEMORY_GB and not facts.whole:
        what = f"{facts.memory_gb:.1f} GB of memory are free; two guests need {METAL_MEMORY_GB} GB"
        problems.append(Problem(what, "end something big, or use a machine with 8 GB or more"))
    return problems


def get_metal_facts(lab: Lab) -> MetalFacts:
    existing = next(path for path in (lab.root, *lab.root.parents) if path.exists())
    available = next((line.split()[1] for line in read(Path("/proc/meminfo")).splitlines() if "MemAvail" in line), "0")
    return MetalFacts(
        programs=frozenset(name for name in METAL_PROGRAMS if _find_program(name)),
        has_tun=Path("/dev/net/tun").exists(),
        free_gb=shutil.disk_usage(existing).free / 1e9,
        memory_gb=int(available) * 1024 / 1e9,
        whole=all(lab.home(guest).prepared.exists() for guest in lab.guests),
    )
