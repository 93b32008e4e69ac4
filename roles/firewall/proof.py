"""Whom a rule set lets in, read from its text alone: the proof, before it is loaded, that nobody is cut off. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from roles.firewall.rules import HEAD, TAIL, Network, Session

LINE = re.compile(
    r"(?:(?:ip|ip6) saddr \{ (?P<sources>[^{}]+) \} )?(?P<protocol>tcp|udp) dport (?P<first>\d+)(?:-(?P<last>\d+))?"
    r' accept comment "[^"]*"'
)


@dataclass(frozen=True)
class Rule:
    """One line that lets in; no source: from everywhere."""

    number: int
    text: str
    protocol: str
    first: int
    last: int
    sources: tuple[Network, ...] | None

    def fits(self, network: Network, port: int, protocol: str) -> bool:
        """Whether all of a network gets in to this port by this line."""
        if protocol != self.protocol or not self.first <= port <= self.last:
            return False
        return self.sources is None or any(_holds(source, network) for source in self.sources)


@dataclass(frozen=True)
class Peer:
    """Somebody who speaks with a port of the server now, and which program answers."""

    address: str
    port: int
    program: str


def _holds(source: Network, network: Network) -> bool:
    return source.version == network.version and network.subnet_of(source)  # type: ignore[arg-type]


def read_rules(text: str) -> list[Rule]:
    """The lines that open ports. Raises ValueError on a text that is not wholly understood."""
    if not (text.startswith(HEAD) and text.endswith(TAIL)):
        raise ValueError("it does not begin or end as a rule set of dsops does")
    lines = text.splitlines()
    first, last = HEAD.count("\n"), len(lines) - TAIL.count("\n")
    return [_read_rule(number + 1, lines[number].strip()) for number in range(first, last)]


def _read_rule(number: int, text: str) -> Rule:
    match = LINE.fullmatch(text)
    if match is None:
        raise ValueError(f"line {number} is not understood: {text}")
    named = match["sources"]
    sources = None if named is None else tuple(ip_network(one) for one in named.split(", "))
    return Rule(number, text, match["protocol"], int(match["first"]), int(match["last"] or match["first"]), sources)


def is_open(rules: Iterable[Rule], network: Network, port: int, protocol: str = "tcp") -> bool:
    """Whether a new connection from all of a network to a port gets in."""
    return any(rule.fits(network, port, protocol) for rule in rules)


def find_cut_off(text: str, *, session: Session | None, control: Sequence[Network], ssh_port: int) -> list[str]:
    """One sentence for every operator whom a rule set would not let in by SSH; empty: it is safe to load."""
    try:
        rules = read_rules(text)
    except ValueError as error:
        return [f"the rule set cannot be proven: {error}"]
    problems = []
    if session and not is_open(rules, ip_network(session.address), session.port):
        who = f"this session, which comes from {session.address}, would be cut off from port {session.port}"
        problems.append(f"{who}: {name_fault(text, rules, session.port)}")
    for network in control:
        if not is_open(rules, network, ssh_port):
            who = f"{network} of firewall_control would be cut off from port {ssh_port}"
            problems.append(f"{who}: {name_fault(text, rules, ssh_port)}")
    return problems


def name_fault(text: str, rules: Sequence[Rule], port: int) -> str:
    """The line at fault: those that open the port to others, or the one that drops what no line lets in."""
    near = [rule for rule in rules if rule.protocol == "tcp" and rule.first <= port <= rule.last]
    if near:
        return " and ".join(f"line {rule.number} lets in others only: {rule.text}" for rule in near)
    lines = text.splitlines()
    number = next(number for number, line in enumerate(lines, 1) if "policy drop" in line)
    return f"no line opens it, and line {number} drops the rest: {lines[number - 1].strip()}"


def find_silenced(text: str, peers: Iterable[Peer]) -> list[str]:
    """One sentence for everybody who speaks with the server now and could not begin to under a rule set."""
    rules = read_rules(text)
    lost = [one for one in peers if not is_open(rules, ip_network(one.address), one.port)]
    return [
        f"{one.address} speaks with port {one.port} ({one.program}) now and would be cut off"
        for one in sorted(set(lost), key=lambda one: (one.port, one.address))
    ]


def parse_peers(text: str) -> list[Peer]:
    """Who speaks with a listening port from outside. text: `ss -Htnp state established`, `---`, `ss -Htlnp`."""
    established, _, listening = text.partition("---\n")
    programs = dict(_read_socket(line, local=3) for line in listening.splitlines() if line.strip())
    peers = []
    for line in established.splitlines():
        words = line.split()
        (here, port), (there, _) = _split(words[2]), _split(words[3])
        if port in programs and here != there and not ip_address(there).is_loopback:
            peers.append(Peer(there, port, programs[port]))
    return peers


def _read_socket(line: str, *, local: int) -> tuple[int, str]:
    words = line.split()
    users = next((word for word in words if word.startswith("users:")), "")
    return _split(words[local])[1], users.split('"')[1] if '"' in users else "?"


def _split(text: str) -> tuple[str, int]:
    """(address, port) as `ss` prints them: [fe80::1]%eth0:22, [::ffff:10.0.0.1]:22, 10.0.0.1:22."""
    address, _, port = text.rpartition(":")
    return address.split("%")[0].strip("[]").removeprefix("::ffff:"), int(port)
