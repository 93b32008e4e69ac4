"""The system that a bundle is for: what its packages are called there, and which Python its wheels must fit."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError

TABLE = "roles/ops/systems.toml"


@dataclass(frozen=True)
class Target:
    """One system of the roles' table. packages: a name in packages.txt -> its name there, where it differs."""

    name: str
    python_version: str
    packages: Mapping[str, str]

    def get_packages(self, names: Iterable[str]) -> list[str]:
        """What these packages, named as on Debian 12, are called on this system."""
        return [self.packages.get(name, name) for name in names]


def get_target(root: Path, system: str) -> Target:
    """The target for a system such as `debian 12`, from the checkout's table. Raises DsopsError on an unknown one."""
    targets = [
        Target(f"{entry['id']} {entry['version']}", entry["python_version"], entry["packages"])
        for entry in tomllib.loads((root / TABLE).read_text())["systems"]
    ]
    for target in targets:
        if target.name == system:
            return target
    known = ", ".join(target.name for target in targets)
    raise DsopsError(f"no bundle can be made on {system}", where=TABLE, mend=f"build it on one of {known}")
