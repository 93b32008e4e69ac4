"""What counts as an attempt to leave, and how attempts are counted."""

from pathlib import Path

import pytest
from dsops.lab.attempts import (
    ASKED_AGAIN_S,
    Attempt,
    Counts,
    Place,
    Tally,
    judge_packet,
    judge_question,
    parse_counters,
    read_counters,
    read_log,
)
from dsops.lab.packets import Packet, Question, parse_packet
from dsops.lab.place import LAB, Lab

from tests.lab.test_packets import ipv4, query, udp

PLACE = Place.of(LAB)


def packet(target: str, *, protocol: str = "tcp", port: int = 443, source: str = "10.99.0.11") -> Packet:
    return Packet(source, target, protocol, 40000, port, opens=True, payload=b"")


def test_a_connection_to_an_address_beyond_the_lab_is_an_attempt_of_that_server() -> None:
    attempt = judge_packet(PLACE, packet("203.0.113.9"))
    assert attempt == Attempt("gpu1", "tcp", "203.0.113.9", 443)
    assert attempt.kind == "packet"


def test_ipv6_and_unknown_senders_count_too() -> None:
    assert judge_packet(PLACE, packet("2001:db8::1", source=str(LAB.address6(LAB.servers[1])))) == Attempt(
        "gpu1", "tcp", "2001:db8::1", 443
    )
    stranger = judge_packet(PLACE, packet("203.0.113.9", source="10.99.0.77"))
    assert stranger
    assert stranger.server == "10.99.0.77"


def test_reaching_for_the_machine_under_the_lab_is_an_attempt() -> None:
    assert judge_packet(PLACE, packet("10.99.0.1", port=3128))
    assert judge_packet(PLACE, packet("192.0.2.2", port=22))


@pytest.mark.parametrize(
    ("target", "protocol", "port"),
    [
        ("10.99.0.1", "udp", 53),
        ("10.99.0.1", "icmp", 0),
        ("10.99.0.12", "tcp", 22),
        ("224.0.0.22", "2", 0),
        ("255.255.255.255", "udp", 67),
        ("ff02::2", "icmp", 0),
        ("fe80::1", "icmp", 0),
    ],
)
def test_what_stays_in_the_lab_is_none(target: str, protocol: str, port: int) -> None:
    assert judge_packet(PLACE, packet(target, protocol=protocol, port=port)) is None


def test_a_packet_that_opens_nothing_is_none() -> None:
    assert judge_packet(PLACE, Packet("10.99.0.11", "203.0.113.9", "tcp", 1, 2, opens=False, payload=b"")) is None


def test_a_question_to_a_foreign_resolver_is_logged_by_name() -> None:
    asked = parse_packet(ipv4(udp(query("hub.example"), port=53), protocol=17, target="8.8.8.8"))
    assert asked
    attempt = judge_packet(PLACE, asked)
    assert attempt == Attempt("gpu1", "udp", "8.8.8.8", 53, "hub.example", "A")
    assert attempt.kind == "dns"


def test_a_question_for_a_foreign_name_is_an_attempt() -> None:
    attempt = judge_question(PLACE, "10.99.0.10", "10.99.0.1", Question("hub.example", "A"), "udp")
    assert attempt == Attempt("lb1", "udp", "10.99.0.1", 53, "hub.example", "A")


@pytest.mark.parametrize("name", ["gpu2", "localhost", "11.0.99.10.in-addr.arpa", "1.0.0.127.in-addr.arpa"])
def test_a_question_for_the_labs_own_servers_is_none(name: str) -> None:
    assert judge_question(PLACE, "10.99.0.10", "10.99.0.1", Question(name, "A"), "udp") is None


@pytest.mark.parametrize("name", ["9.113.0.203.in-addr.arpa", "nonsense.in-addr.arpa", "gpu2.example.com"])
def test_a_question_for_others_is_not_taken_for_our_own(name: str) -> None:
    assert judge_question(PLACE, "10.99.0.10", "10.99.0.1", Question(name, "A"), "udp")


def test_a_retransmission_is_a_packet_but_no_new_attempt() -> None:
    tally, flow = Tally(), packet("203.0.113.9").flow
    attempt = Attempt("gpu1", "tcp", "203.0.113.9", 443)
    for second in (0.0, 1.0, 3.0):
        tally.count(attempt, new=tally.is_new(flow, second, within=60))
    assert tally.servers["gpu1"] == Counts(dns=0, connections=1, packets=3)
    assert tally.is_new(flow, 100.0, within=60)


def test_a_question_asked_again_after_the_refusal_counts_once() -> None:
    tally, attempt = Tally(), Attempt("gpu1", "udp", "10.99.0.1", 53, "hub.example", "A")
    for second in (0.0, 0.001, 60.0):
        tally.count(attempt, new=tally.is_new(attempt, second, within=ASKED_AGAIN_S))
    assert tally.servers["gpu1"].dns == 2


def test_memory_of_flows_is_bounded() -> None:
    tally = Tally()
    for number in range(25_000):
        tally.is_new(number, float(number), within=1)
    assert len(tally.recent) <= 10_001


def test_counters_survive_being_written_and_read() -> None:
    tally = Tally()
    tally.count(Attempt("gpu1", "tcp", "203.0.113.9", 443), new=True)
    assert parse_counters(tally.render()) == tally.servers


@pytest.mark.parametrize("text", ["", "{", "[]", '{"gpu1": 3}', '{"gpu1": {"unknown": 1}}'])
def test_an_unreadable_counters_file_counts_nothing(text: str) -> None:
    assert parse_counters(text) == {}


def test_every_server_has_a_count_even_without_a_file(tmp_path: Path) -> None:
    counters = read_counters(Lab(tmp_path, "dsopst0", LAB.subnet, LAB.servers, tmp_path))
    assert set(counters) == {"lb1", "gpu1", "gpu2", "gpu3", "mon1"}
    assert all(counts.attempts == 0 for counts in counters.values())


def test_the_log_leaves_out_a_line_that_is_still_being_written(tmp_path: Path) -> None:
    lab = Lab(tmp_path, "dsopst0", LAB.subnet, LAB.servers, tmp_path)
    lab.sink.mkdir()
    (lab.sink / "log.jsonl").write_text('{"server": "gpu1"}\n{"server": "gp')
    assert read_log(lab) == [{"server": "gpu1"}]
