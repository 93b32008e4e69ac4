"""Packets and DNS questions, byte by byte."""

import struct
from ipaddress import ip_address

import pytest
from dsops.lab.packets import Packet, Question, parse_packet, parse_question, render_answer


def ipv4(payload: bytes, *, protocol: int, source: str = "10.99.0.11", target: str = "203.0.113.9") -> bytes:
    addresses = ip_address(source).packed + ip_address(target).packed
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0) + addresses + payload


def ipv6(payload: bytes, *, protocol: int, source: str = "fd64::11", target: str = "2001:db8::1") -> bytes:
    addresses = ip_address(source).packed + ip_address(target).packed
    return struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64) + addresses + payload


def tcp(*, port: int, flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, flags, 0, 0, 0)


def udp(payload: bytes, *, port: int) -> bytes:
    return struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload


def query(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def test_a_connection_attempt_shows_who_wants_where() -> None:
    packet = parse_packet(ipv4(tcp(port=443, flags=0x02), protocol=6))
    assert packet == Packet("10.99.0.11", "203.0.113.9", "tcp", 40000, 443, opens=True, payload=b"")


def test_ipv6_is_read_as_well() -> None:
    packet = parse_packet(ipv6(tcp(port=443, flags=0x02), protocol=6))
    assert packet
    assert (packet.source, packet.target, packet.port) == ("fd64::11", "2001:db8::1", 443)


@pytest.mark.parametrize("flags", [0x10, 0x12, 0x04, 0x11])
def test_segments_of_a_connection_that_stands_open_nothing(flags: int) -> None:
    packet = parse_packet(ipv4(tcp(port=443, flags=flags), protocol=6))
    assert packet
    assert not packet.opens


def test_a_ping_has_no_port() -> None:
    packet = parse_packet(ipv4(b"\x08\x00" + bytes(14), protocol=1))
    assert packet
    assert (packet.protocol, packet.port, packet.opens) == ("icmp", 0, True)


def test_a_later_fragment_is_not_read_as_a_header() -> None:
    data = bytearray(ipv4(tcp(port=443, flags=2), protocol=6))
    data[6:8] = struct.pack("!H", 100)
    packet = parse_packet(bytes(data))
    assert packet
    assert packet.port == 0


@pytest.mark.parametrize("data", [b"", b"\x45", bytes(60), b"\x60" + bytes(20)])
def test_what_is_no_ip_packet_is_none(data: bytes) -> None:
    assert parse_packet(data) is None


def test_a_question_is_read_in_lower_case_with_its_type() -> None:
    assert parse_question(query("Mirror.Example.ORG", 28)) == Question("mirror.example.org", "AAAA")
    assert parse_question(query("example.com", 999)) == Question("example.com", "999")


@pytest.mark.parametrize(
    "data", [b"", bytes(12), query("a.b")[:-3], query("a.b")[:14], b"\x12\x34\x80" + query("a.b")[3:]]
)
def test_a_broken_query_or_an_answer_is_no_question(data: bytes) -> None:
    assert parse_question(data) is None


def test_an_answer_repeats_the_question_and_refuses() -> None:
    asked = query("example.com")
    answer = render_answer(asked + b"additional records", code=5)
    assert answer[:2] == asked[:2]
    assert answer[12:] == asked[12:]
    flags = struct.unpack("!H", answer[2:4])[0]
    assert flags & 0x8000
    assert flags & 0xF == 5
    assert struct.unpack("!HHHH", answer[4:12]) == (1, 0, 0, 0)
