"""balancer.toml as frozen dataclasses."""

import re
from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.sources.config import parse_listen, read_config


@dataclass(frozen=True)
class NodeConfig:
    """One node. port = the gateway's traffic; admin_port = where it says why it refuses, 0 = nowhere."""

    name: str
    address: str
    port: int = 8080
    admin_port: int = 9411


@dataclass(frozen=True)
class BalancerConfig:
    """What the balancer asks, how often, and where the links lie."""

    nodes: tuple[NodeConfig, ...]
    listen: str = "0.0.0.0:9412"  # the management network; the firewall decides who reaches it
    run_dir: str = "/run/dsops-lb"
    interval_seconds: float = 0.5
    timeout_seconds: float = 1.0
    good_answers: int = 2


def get_config(path: Path) -> BalancerConfig:
    """Reads and checks balancer.toml. Raises DsopsError naming the key."""
    config = read_config(path, BalancerConfig)
    check_config(config, where=str(path))
    return config


def check_config(config: BalancerConfig, *, where: str) -> None:
    """Raises DsopsError on values that types cannot refuse. Node names become file names."""
    parse_listen(config.listen, where=f"{where}: listen")
    names = [node.name for node in config.nodes]
    if not names:
        raise DsopsError("there is no node", where=f"{where}: nodes", mend="add a [[nodes]] table")
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise DsopsError(
                f"{name!r} cannot be a node's name", where=f"{where}: nodes", mend="letters, digits, . _ -"
            )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DsopsError(f"{', '.join(twice)} stands there twice", where=f"{where}: nodes", mend="name each node once")
    if config.interval_seconds <= 0 or config.timeout_seconds <= 0 or config.good_answers < 1:
        raise DsopsError("interval, timeout and good_answers are over 0", where=where, mend="leave them out")
