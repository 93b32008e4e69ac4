"""What every check is handed: the inventory, the keys that its roles read, and the bundle; read once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dsops.control.doctor.defaults import Key
from dsops.control.fleet.inventory import Fleet, Server

# Where deploy/site.py runs a role: every server, or a group's. A test holds the two together.
PLACES: Mapping[str, str] = {
    "base": "",
    "storage": "",
    "swap": "",
    "system": "",
    "driver": "",
    "rdma": "",
    "ssh": "",
    "firewall": "",
    "triton": "gpu",
    "mig": "gpu",
    "container": "gpu",
    "helper": "gpu",
    "engine": "gpu",
    "gateway": "gpu",
    "nginx": "lb",
    "monitoring": "mon",
    "agent": "",
}


@dataclass(frozen=True)
class BundleFacts:
    """What the checks need to know of a bundle. sizes: bytes below each folder of two names, such as `apt/base`."""

    release: str
    system: str
    version: str
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """root: the checkout. bundle is None when it could not be read; another finding says why."""

    fleet: Fleet
    root: Path
    keys: Mapping[str, Key]
    bundle: BundleFacts | None = None
    # Version of the C library -> the supported system that has it.
    systems: Mapping[str, str] = field(default_factory=dict)

    def value(self, server: Server, key: str) -> Any:
        """What the inventory says, else the role's default."""
        known = self.keys.get(key)
        return server.data.get(key, known.default if known else None)

    def has_role(self, server: Server, role: str) -> bool:
        """Whether deploy/site.py runs this role there."""
        return PLACES.get(role, role) in ("", *server.groups)
