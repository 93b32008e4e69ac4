"""A driver lockset: kernel, GPU driver and all that must have its version, as one pinned set. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dsops.core.decode import decode
from dsops.core.errors import DsopsError

NUMBERS = re.compile(r"\d+")
# On a server: the sets it holds, which is current, what the last boot showed; and that a reboot makes it live.
FOLDER = "/var/lib/dsops/driver"
SETS = f"{FOLDER}/sets"
STATE = f"{FOLDER}/state.json"
VERDICT = f"{FOLDER}/verdict.json"
TURNED = "/run/dsops-driver-turned"
PREFERENCES = "/etc/apt/preferences.d/90-dsops-driver"
# PCI classes of NVIDIA's GPUs and of her NVLink switches.
VENDOR, GPU_CLASSES, SWITCH_CLASSES = "0x10de", ("0x0300", "0x0302"), ("0x0680",)


class Source(StrEnum):
    """Where the packages come from when the bundle is built; the servers have them from the bundle only."""

    NVIDIA = "nvidia-repository"
    DEBIAN = "debian-non-free"
    BUNDLE = "bundle"


class Flavour(StrEnum):
    """Of the kernel modules."""

    OPEN = "open"
    PROPRIETARY = "proprietary"


@dataclass(frozen=True)
class Kernel:
    """release: as `uname -r` says it."""

    release: str
    package: str
    version: str


@dataclass(frozen=True)
class Lockset:
    """One set. system: as in roles/ops/systems.toml. cuda: the newest that the driver speaks by itself.

    modules: file names below /lib/modules, the first is the driver itself. packages and the four after it: words
    `name=version`. build: packages with the modules' source. cited, date: where this was read, and when. proven: on
    what dsops has installed it, "" = nowhere yet.
    """

    name: str
    system: str
    source: Source
    flavour: Flavour
    driver: str
    cuda: str
    kernel: Kernel
    modules: tuple[str, ...]
    packages: tuple[str, ...]
    build: tuple[str, ...]
    cited: str
    date: str
    fabric_manager: str = ""
    nvlsm: str = ""
    persistenced: str = ""
    toolkit: tuple[str, ...] = ()
    proven: str = ""

    @property
    def pins(self) -> Mapping[str, str]:
        """name -> version of every package of the set, the kernel's too."""
        single = [word for word in (self.fabric_manager, self.nvlsm, self.persistenced) if word]
        words = (*self.packages, *single, *self.toolkit, f"{self.kernel.package}={self.kernel.version}")
        return {name: version for name, _, version in (word.partition("=") for word in words)}


@dataclass(frozen=True)
class Carried:
    """A set as the bundle carries it. modules: file name -> sha256 of prebuilt ones; none where DKMS builds them."""

    lockset: Lockset
    modules: Mapping[str, str]

    @property
    def is_prebuilt(self) -> bool:
        return bool(self.modules)

    @property
    def pins(self) -> Mapping[str, str]:
        """name -> version of all that is installed and held; where DKMS builds, the modules' source too."""
        build = [] if self.is_prebuilt else [word.partition("=") for word in self.lockset.build]
        return {**self.lockset.pins, **{name: version for name, _, version in build}}


def parse_carried(text: str, *, where: str) -> Carried:
    """Of a set's set.json. Raises DsopsError."""
    try:
        data = json.loads(text)
        lockset, modules = data["lockset"], {str(key): str(value) for key, value in data["modules"].items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DsopsError(f"is no driver set ({error})", where=where, mend="deploy from a whole bundle") from error
    return Carried(decode(Lockset, lockset, where=where), modules)


def get_upstream(version: str) -> str:
    """A package's version without what its packager added: `1:570.133.20-0ubuntu1` -> `570.133.20`."""
    return version.rpartition(":")[2].partition("-")[0]


def parse_version(text: str) -> tuple[int, ...]:
    """For comparing: `535.309.01` -> (535, 309, 1)."""
    return tuple(int(number) for number in NUMBERS.findall(text))


def is_older(one: str, other: str) -> bool:
    """Whether driver or CUDA `one` is older than `other`; `570` counts as the first of its branch."""
    return parse_version(one) < parse_version(other)
