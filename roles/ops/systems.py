"""Which systems the roles know, what differs on each, and whether a bundle fits one."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dsops.core.errors import DsopsError
from pyinfra import host
from pyinfra.api import State
from pyinfra.facts.server import LinuxDistribution

WHEEL = re.compile(r"-cp3(\d+)-cp3\d+-[^-]+\.whl$")


@dataclass(frozen=True)
class System:
    """One release of a distribution (roles/ops/systems.toml)."""

    id: str
    version: str
    libc: str
    python: str
    python_version: str
    packages: Mapping[str, str]

    @property
    def name(self) -> str:
        """As people write it, such as `ubuntu 24.04`."""
        return f"{self.id} {self.version}"

    def get_packages(self, names: Iterable[str]) -> list[str]:
        """What these packages, named as on Debian 12, are called here."""
        return [self.packages.get(name, name) for name in names]


@cache
def read_systems() -> tuple[System, ...]:
    """All that are known."""
    text = Path(__file__).with_name("systems.toml").read_text()
    return tuple(System(**entry) for entry in tomllib.loads(text)["systems"])


def get_system(release: Mapping[str, str], *, where: str) -> System:
    """The system that an os-release describes. Raises DsopsError on one that is not known."""
    said = release.get("ID") or "unknown", release.get("VERSION_ID") or "?"
    for system in read_systems():
        if (system.id, system.version) == said:
            return system
    known = ", ".join(system.name for system in read_systems())
    mend = f"install one of {known}; nothing was changed"
    raise DsopsError(f"{' '.join(said)} is not supported", where=where, mend=mend)


def find_system_of(packages: str) -> System | None:
    """The system that an apt repository was made for, by the libc6 in its `Packages`."""
    found = re.search(r"^Package: libc6\n(?:\S.*\n)*?Version: ([\d.]+)", packages, re.MULTILINE)
    return next((system for system in read_systems() if found and system.libc == found[1]), None)


def find_python_of(wheels: Iterable[str]) -> str | None:
    """The version of Python that compiled wheels ask for, such as `3.11`; None when they run on any."""
    found = next((match for name in wheels if (match := WHEEL.search(name))), None)
    return f"3.{found[1]}" if found else None


def check_bundle(system: System, *, packages: str, wheels: Iterable[str], where: str) -> None:
    """Raises DsopsError when a bundle's packages or wheels were made for another system than the server's."""
    made_for = find_system_of(packages)
    if made_for != system:
        what = f"this server is {system.name}, the bundle's packages are for {made_for.name if made_for else 'another'}"
        mend = f"build the bundle on a machine with {system.name}; nothing was changed"
        raise DsopsError(what, where=where, mend=mend)
    python = find_python_of(wheels)
    if python not in {None, system.python_version}:
        what = f"the bundle's wheels are for Python {python}, {system.name} has {system.python_version}"
        raise DsopsError(what, where=where, mend="build a bundle with that system's wheels; nothing was changed")


@cache
def read_release(state: State, name: str) -> Mapping[str, str]:
    """The os-release of a server; read once a run, for it does not change and most roles ask."""
    return dict(state.inventory.get_host(name).get_fact(LinuxDistribution)["release_meta"])


def get_host_system() -> System:
    """The system of the server at hand."""
    return get_system(read_release(host.state, host.name), where=host.name)
