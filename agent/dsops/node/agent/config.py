"""agent.toml as frozen dataclasses."""

from dataclasses import dataclass, field
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.node.agent.rounds import Pace
from dsops.node.sources.config import parse_listen, read_config
from dsops.node.sources.peers import PeerAddress
from dsops.node.sources.slots import Ports


@dataclass(frozen=True)
class GatewayConfig:
    """The gateway of this server: its local control socket."""

    socket: str = "/run/dsops/gateway.sock"


@dataclass(frozen=True)
class GpuConfig:
    """expected = how many GPUs the inventory promises; left out, none are missed."""

    expected: int | None = None
    every_seconds: float = 5.0
    deadline_seconds: float = 10.0


@dataclass(frozen=True)
class ProbeConfig:
    """How often the active slot is asked a golden prompt, and how often once something was BAD."""

    every_seconds: float = 15.0
    retry_seconds: float = 2.5

    @property
    def pace(self) -> Pace:
        return Pace(every=self.every_seconds, retry=min(self.retry_seconds, self.every_seconds))


@dataclass(frozen=True)
class AgentConfig:
    """What one agent watches. units = systemd units that must run, beside those of the slots.

    hold_seconds: so long after its start the agent acts on nothing but traffic. canary_pause_seconds: from one request
    of dsops' own to a release on trial to its next: in half an hour 2 s make 900. history "": none is kept. peers: the
    other nodes of the pool. kernel_log "": this server has no kernel of its own. checks: the site's changes to the
    tables of checks. keep_serving: so many others must serve before checks take this one out of traffic.
    """

    node: str
    role: str
    listen: str = "0.0.0.0:9410"  # the management network; the firewall decides who reaches it
    state: str = "/var/lib/dsops"
    root: str = "/"
    lane: str = "l50"
    tick_seconds: float = 1.0
    answer_seconds: float = 0.8
    hold_seconds: float = 120.0
    canary_pause_seconds: float = 2.0
    helper: str = "/run/dsops-helper.sock"
    history: str = ""
    kernel_log: str = "/dev/kmsg"
    checks: str = "/etc/dsops/checks.toml"
    keep_serving: int = 1
    store: str = "/etc/dsops/store.toml"
    units: tuple[str, ...] = ()
    slots: tuple[Ports, ...] = ()
    gateway: GatewayConfig | None = None
    gpus: GpuConfig = field(default_factory=GpuConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    peers: tuple[PeerAddress, ...] = ()


def get_config(path: Path) -> AgentConfig:
    """Reads and checks agent.toml. Raises DsopsError naming the key."""
    config = read_config(path, AgentConfig)
    where = str(path)
    parse_listen(config.listen, where=f"{where}: listen")
    for peer in config.peers:
        parse_listen(peer.address, where=f"{where}: peers: {peer.name}")
    for key, seconds in (
        ("tick_seconds", config.tick_seconds),
        ("probe: every_seconds", config.probe.every_seconds),
        ("probe: retry_seconds", config.probe.retry_seconds),
        ("answer_seconds", config.answer_seconds),
        ("canary_pause_seconds", config.canary_pause_seconds),
        ("gpus: every_seconds", config.gpus.every_seconds),
        ("gpus: deadline_seconds", config.gpus.deadline_seconds),
    ):
        if seconds <= 0:
            raise DsopsError(f"should be over 0, is {seconds:g}", where=f"{where}: {key}", mend="leave it out")
    return config
