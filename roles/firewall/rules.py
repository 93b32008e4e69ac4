"""The rule set of a server: what the roles listen on, for whom, from the inventory's addresses. Pure but for names."""

import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network
from typing import Any, Protocol

from dsops.core.errors import DsopsError

from roles.firewall.defaults import Firewall
from roles.ops.listens import CLIENTS, CONTROL, EVERY, find_listens

Network = IPv4Network | IPv6Network
ANYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
EXTRA = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp)(?: from (.+))?")
COMMENT = re.compile(r"[^A-Za-z0-9 ',:._/-]")


class Member(Protocol):
    """A server of the inventory: pyinfra's Host and the control side's Server alike."""

    @property
    def name(self) -> str: ...
    @property
    def groups(self) -> Sequence[str]: ...
    @property
    def data(self) -> Any: ...


@dataclass(frozen=True)
class Session:
    """The SSH session at hand, as the server sees it: where it comes from, and the port that it asked for."""

    address: str
    port: int


@dataclass(frozen=True)
class Opening:
    """One port, or a range of them, for some networks; no network: for nobody."""

    what: str
    protocol: str
    first: int
    last: int
    sources: tuple[Network, ...]


def parse_session(text: str) -> Session | None:
    """From $SSH_CONNECTION: `client port server port`; None where there is no session."""
    words = text.split()
    if len(words) != 4:
        return None
    return Session(words[0].split("%")[0].removeprefix("::ffff:"), int(words[3]))


def parse_network(text: str, *, where: str) -> Network:
    """A network or an address. Raises DsopsError."""
    try:
        return ip_network(text.strip(), strict=True)
    except ValueError as error:
        raise DsopsError(f"{text!r} is no network ({error})", where=where, mend=_suggest(text)) from error


def _suggest(text: str) -> str:
    try:
        return f"write {ip_network(text.strip(), strict=False)}, or the address alone"
    except ValueError:
        return "write it like 10.0.0.0/8, 192.0.2.7 or fd00::/8"


def parse_networks(texts: Iterable[str], *, where: str) -> tuple[Network, ...]:
    """Networks, each once. Raises DsopsError."""
    return merge(parse_network(text, where=where) for text in texts)


def merge(networks: Iterable[Network]) -> tuple[Network, ...]:
    """The same addresses in as few networks as can be, in order: nft takes no two that overlap."""
    every = set(networks)
    four = collapse_addresses(one for one in every if isinstance(one, IPv4Network))
    six = collapse_addresses(one for one in every if isinstance(one, IPv6Network))
    return (*four, *six)


@dataclass(frozen=True)
class Sources:
    """Who is meant by a word: groups of the inventory, `control`, `clients`, `all`."""

    networks: Mapping[str, tuple[Network, ...]]

    def find(self, word: str) -> tuple[Network, ...] | None:
        """None: no such word. A group without servers is empty."""
        return self.networks.get(word)


def find_sources(said: Firewall, members: Sequence[Member], *, session: Session | None, where: str) -> Sources:
    """Every word with its networks. Raises DsopsError on what is no address."""
    control = find_control(said, session=session, where=where)
    clients = parse_networks(said.firewall_clients, where=f"{where}/firewall_clients") or ANYWHERE
    own = {member.name: find_own(member) for member in members}
    groups = dict.fromkeys(group for member in members for group in member.groups)
    networks = {group: merge(n for one in members if group in one.groups for n in own[one.name]) for group in groups}
    every = merge(network for found in own.values() for network in found)
    return Sources({**networks, EVERY: every, CONTROL: control, CLIENTS: clients})


def find_control(said: Firewall, *, session: Session | None, where: str) -> tuple[Network, ...]:
    """Where operators come from: what the inventory says, else this session's address. Raises DsopsError."""
    named = parse_networks(said.firewall_control, where=f"{where}/firewall_control")
    return named or ((ip_network(session.address),) if session else ())


def find_own(member: Member) -> list[Network]:
    """The addresses from which a server may speak to the others. Raises DsopsError on a name that nobody knows."""
    data = member.data
    # Managed at the one, reached by the others at the other: which of them it speaks from, its routes decide.
    names = dict.fromkeys([data.get("dsops_address") or "", data.get("ssh_hostname") or ""])
    texts = [address for name in names if name for address in resolve_here(str(name))]
    more = data.get("firewall_addresses") or ()
    where = f"{member.name}/firewall_addresses"
    return [parse_network(text, where=where) for text in (*(texts or resolve_here(member.name)), *more)]


def resolve_here(name: str) -> list[str]:
    """The addresses of a name, as the control host knows it; nothing is asked at boot. Raises DsopsError."""
    try:
        return [str(ip_address(name))]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        mend = "give the server's address as ssh_hostname or dsops_address"
        raise DsopsError(f"the firewall needs an address, and nobody here knows {name!r}", mend=mend) from error
    return sorted({str(entry[4][0]).split("%")[0] for entry in found})


def find_openings(member: Member, said: Firewall, sources: Sources, *, session: Session | None) -> list[Opening]:
    """What is open on a server. Raises DsopsError on a port or text that is none."""
    openings = []
    for listen in find_listens(member.groups):
        named = [sources.find(word) or () for word in listen.reached_from]
        what = f"{listen.what}, from {' '.join(listen.reached_from)}"
        port = listen.get_port(member.data)
        networks = merge(network for one in named for network in one)
        openings.append(Opening(what, listen.protocol, port, port, networks))
        # Behind a translated port the server's own is another one than the inventory's.
        if listen.key == "ssh_port" and session and session.port != port:
            openings.append(Opening(what, listen.protocol, session.port, session.port, networks))
    return openings + [
        parse_extra(text, sources, where=f"{member.name}/firewall_extra") for text in said.firewall_extra
    ]


def parse_extra(text: str, sources: Sources, *, where: str) -> Opening:
    """One of firewall_extra. Raises DsopsError."""
    match = EXTRA.fullmatch(text.strip())
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not match or not 0 < first <= last < 1 << 16:
        mend = 'write it like "9100/tcp", "9100/tcp from 10.0.0.0/8" or "5000-5010/udp from gpu"'
        raise DsopsError(f"{text!r} opens no port", where=where, mend=mend)
    if match[4] is None:
        return Opening(f"firewall_extra {text}", match[3], first, last, ANYWHERE)
    named: list[Network] = []
    for word in match[4].split(","):
        found = sources.find(word.strip())
        named += (parse_network(word, where=where),) if found is None else found
    return Opening(f"firewall_extra {text}", match[3], first, last, merge(named))


HEAD = """\
# Written by dsops (role firewall): this table, and no other, is replaced at once when the file is loaded.
table inet dsops
delete table inet dsops
table inet dsops {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iifname "lo" accept
    icmp type { destination-unreachable, time-exceeded, parameter-problem, echo-request } accept
    icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-request } accept
    icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query } accept
    udp sport 67 udp dport 68 accept comment "DHCP: answers come from an address that nobody asked"
    ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept comment "DHCPv6"
"""
TAIL = """\
    meta pkttype host limit rate 6/minute burst 6 packets log prefix "dsops firewall: "
    counter
  }
}
"""


def render_rules(openings: Iterable[Opening]) -> str:
    """The file for nft: what comes in is dropped but for this; what is forwarded or goes out is left alone."""
    lines = [line for opening in openings for line in render_opening(opening)]
    return HEAD + "".join(f"    {line}\n" for line in lines) + TAIL


def render_opening(opening: Opening) -> list[str]:
    """One line a family of addresses; nothing for an opening that is for nobody."""
    ports = str(opening.first) if opening.first == opening.last else f"{opening.first}-{opening.last}"
    comment = COMMENT.sub("", opening.what)[:100]
    end = f'{opening.protocol} dport {ports} accept comment "{comment}"'
    if set(opening.sources) >= set(ANYWHERE):
        return [end]
    lines = []
    for family, kind in (("ip", IPv4Network), ("ip6", IPv6Network)):
        mine = [render_network(one) for one in opening.sources if isinstance(one, kind)]
        lines += [f"{family} saddr {{ {', '.join(mine)} }} {end}"] if mine else []
    return lines


def render_network(network: Network) -> str:
    """An address alone without its length."""
    return str(network.network_address if network.num_addresses == 1 else network)


def build(member: Member, members: Sequence[Member], said: Firewall, session: Session | None) -> str:
    """The rule set of one server of an inventory. Raises DsopsError: nothing was changed."""
    sources = find_sources(said, members, session=session, where=member.name)
    if not sources.find(CONTROL):
        mend = 'name the networks that operators come from: firewall_control = ["10.0.0.0/24"]'
        raise DsopsError("nobody would be let in by SSH", where=f"{member.name}/firewall_control", mend=mend)
    return render_rules(find_openings(member, said, sources, session=session))
