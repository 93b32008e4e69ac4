"""Reads packets and DNS questions as the sink sees them: who, to what, which port. Pure."""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
PROTOCOLS = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMP6: "icmp"}
QUESTION_TYPES = {
    1: "A",
    28: "AAAA",
    12: "PTR",
    15: "MX",
    33: "SRV",
    16: "TXT",
    65: "HTTPS",
    6: "SOA",
    2: "NS",
}


@dataclass(frozen=True)
class Packet:
    source: str
    target: str
    protocol: str
    source_port: int
    port: int  # 0 where the protocol has none
    opens: bool  # may begin something: anything but a TCP segment without a lone SYN
    payload: bytes

    @property
    def flow(self) -> tuple[str, int, str, str, int]:
        return self.source, self.source_port, self.target, self.protocol, self.port


@dataclass(frozen=True)
class Question:
    name: str
    type: str


def parse_packet(data: bytes) -> Packet | None:
    """An IP packet without its link header; None for what is not IP or is cut short."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        start = (data[0] & 15) * 4
        source, target = str(IPv4Address(data[12:16])), str(IPv4Address(data[16:20]))
        later_fragment = struct.unpack_from("!H", data, 6)[0] & 0x1FFF
        return _parse_transport(source, target, data[9], b"" if later_fragment else data[start:])
    if len(data) >= 40 and data[0] >> 4 == 6:
        return _parse_transport(str(IPv6Address(data[8:24])), str(IPv6Address(data[24:40])), data[6], data[40:])
    return None


def _parse_transport(source: str, target: str, number: int, data: bytes) -> Packet:
    protocol = PROTOCOLS.get(number, str(number))
    if number not in (TCP, UDP) or len(data) < 8:
        return Packet(source, target, protocol, 0, 0, opens=True, payload=b"")
    source_port, port = struct.unpack_from("!HH", data)
    if number == UDP:
        return Packet(source, target, protocol, source_port, port, opens=True, payload=data[8:])
    lone_syn = len(data) > 13 and data[13] & 0x12 == 0x02
    return Packet(source, target, protocol, source_port, port, opens=lone_syn, payload=b"")


def parse_question(data: bytes) -> Question | None:
    """The first question of a DNS query. Source: RFC 1035, 4.1."""
    if len(data) < 12 or data[2] & 0x80 or struct.unpack_from("!H", data, 4)[0] < 1:
        return None
    labels, at = [], 12
    while at < len(data) and 0 < data[at] < 64:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("ascii", "backslashreplace"))
        at += 1 + data[at]
    if at + 5 > len(data) or data[at] != 0:
        return None
    number = struct.unpack_from("!H", data, at + 1)[0]
    return Question(".".join(labels).lower() or ".", QUESTION_TYPES.get(number, str(number)))


def render_answer(query: bytes, *, code: int) -> bytes:
    """An answer without records, to the query's id and question. code: 3 no such name, 5 refused."""
    flags = 0x8000 | (query[2] << 8 & 0x7900) | 0x0080 | code
    question = query[12 : _question_end(query)]
    return query[:2] + struct.pack("!HHHHH", flags, 1, 0, 0, 0) + question


def _question_end(query: bytes) -> int:
    at = 12
    while at < len(query) and query[at]:
        at += 1 + query[at]
    return at + 5
