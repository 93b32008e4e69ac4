"""What a node's store says for a rollout: its releases, and the memory that is really free."""

import json
from dataclasses import dataclass
from typing import Any

from dsops.control.fleet.inventory import Fleet, Server
from dsops.control.fleet.releases import SECONDS, Listed, parse_releases
from dsops.control.fleet.ssh import run_node
from dsops.core.decode import decode
from dsops.core.placement import Memory


@dataclass(frozen=True)
class Holdings:
    """memory: the server's own, None where an older node does not say it."""

    releases: tuple[Listed, ...]
    memory: Memory | None = None

    def find(self, release: str) -> Listed | None:
        return next((one for one in self.releases if one.release == release), None)


def read_holdings(fleet: Fleet, server: Server) -> Holdings:
    """Raises DsopsError."""
    return parse_holdings(run_node(fleet, server, ["release", "list", "--json"], timeout=SECONDS), where=server.name)


def parse_holdings(text: str, *, where: str) -> Holdings:
    """From the JSON of `dsops node release list --json`; an older node says less. Raises DsopsError."""
    releases = parse_releases(text, where=where)
    data: Any = json.loads(text)
    memory = decode(Memory, data["memory"], where=where) if data.get("memory") else None
    return Holdings(releases, memory)
