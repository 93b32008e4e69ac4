"""What counts as an attempt to leave the lab, and how many each server made."""

import json
from collections.abc import Hashable
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address

from dsops.lab.packets import Packet, Question, parse_question
from dsops.lab.place import Lab
from dsops.lab.run import read

# What comes again this soon is the same attempt: a packet of the same flow; a question that was refused.
RETRANSMITTED_S = 60.0
ASKED_AGAIN_S = 2.0


@dataclass(frozen=True)
class Place:
    """The sink's view of a lab."""

    gateways: tuple[str, str]
    subnets: tuple[str, str]
    names: dict[str, str]  # address -> server

    @classmethod
    def of(cls, lab: Lab) -> "Place":
        subnets = (str(lab.subnet), str(lab.subnet6))
        return cls((str(lab.gateway), str(lab.gateway6)), subnets, lab.names())

    def server(self, address: str) -> str:
        return self.names.get(address, address)

    def is_inside(self, address: str) -> bool:
        value = ip_address(address)
        networks = (IPv4Network(self.subnets[0]), IPv6Network(self.subnets[1]))
        return value.is_multicast or value.is_link_local or any(value in net for net in networks)

    def is_own_name(self, question: Question) -> bool:
        """A question about the lab's own servers: those stand in /etc/hosts, so it is no attempt to leave."""
        if question.name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._is_own_reverse(question.name)
        return question.name in {"localhost", *self.names.values()}

    def _is_own_reverse(self, name: str) -> bool:
        if name.endswith(".in-addr.arpa"):
            address = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
        else:
            digits = "".join(reversed(name.removesuffix(".ip6.arpa").split(".")))
            address = ":".join(digits[at : at + 4] for at in range(0, len(digits), 4))
        try:
            return self.is_inside(address) or ip_address(address).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True)
class Attempt:
    server: str
    protocol: str
    target: str  # address, or the machine that was asked for a name
    port: int
    name: str = ""  # asked for by DNS
    type: str = ""

    @property
    def kind(self) -> str:
        return "dns" if self.name else "packet"


def judge_packet(place: Place, packet: Packet) -> Attempt | None:
    """Whether a packet that reached the gateway wanted out of the lab, or into the machine under it."""
    if not packet.opens:
        return None
    if packet.target in place.gateways:
        if packet.protocol not in ("tcp", "udp") or packet.port == 53:
            return None
    elif place.is_inside(packet.target) or packet.target == "255.255.255.255":
        return None
    asked = parse_question(packet.payload) if (packet.protocol, packet.port) == ("udp", 53) else None
    name, kind = (asked.name, asked.type) if asked else ("", "")
    return Attempt(place.server(packet.source), packet.protocol, packet.target, packet.port, name, kind)


def judge_question(place: Place, source: str, target: str, asked: Question, protocol: str) -> Attempt | None:
    if place.is_own_name(asked):
        return None
    return Attempt(place.server(source), protocol, target, 53, asked.name, asked.type)


@dataclass
class Counts:
    """dns: names asked for; connections: to addresses beyond the lab; packets: with all repetitions."""

    dns: int = 0
    connections: int = 0
    packets: int = 0

    @property
    def attempts(self) -> int:
        return self.dns + self.connections


@dataclass
class Tally:
    """The sink's memory."""

    servers: dict[str, Counts] = field(default_factory=dict)
    recent: dict[Hashable, float] = field(default_factory=dict)

    def is_new(self, key: Hashable, now: float, *, within: float) -> bool:
        """False for the repetition of what was counted less than so many seconds ago."""
        last = self.recent.get(key)
        self.recent[key] = now
        if len(self.recent) > 10_000:
            self.recent = {key: at for key, at in self.recent.items() if now - at < RETRANSMITTED_S}
        return last is None or now - last > within

    def count(self, attempt: Attempt, *, new: bool) -> None:
        counts = self.servers.setdefault(attempt.server, Counts())
        counts.packets += 1
        counts.dns += new and attempt.kind == "dns"
        counts.connections += new and attempt.kind == "packet"

    def render(self) -> str:
        return json.dumps({name: asdict(counts) for name, counts in sorted(self.servers.items())}, indent=1) + "\n"


def parse_counters(text: str) -> dict[str, Counts]:
    try:
        return {name: Counts(**counts) for name, counts in json.loads(text or "{}").items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def read_counters(lab: Lab) -> dict[str, Counts]:
    """Attempts to leave, by server, since the lab was made; every server is in it."""
    return {server.name: Counts() for server in lab.everyone} | parse_counters(read(lab.sink / "counters.json"))


def read_log(lab: Lab) -> list[dict[str, object]]:
    """The attempts themselves, oldest first."""
    lines = read(lab.sink / "log.jsonl.1") + read(lab.sink / "log.jsonl")
    return [json.loads(line) for line in lines.splitlines() if line.endswith("}")]
