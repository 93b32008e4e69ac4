"""The way out: judged by routes, tried only where the operator said, by one connection and no name."""

import socket
import subprocess

import pytest
from dsops.control.doctor.egress import Target, judge_egress, judge_probe, parse_target, render_probe
from dsops.control.doctor.finding import Status
from dsops.control.doctor.probe import render_script
from dsops.core.errors import DsopsError

HEAD = 'put() { printf "%s=%s\\n" "$1" "$2"; }\n'


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("192.0.2.7", Target("192.0.2.7", 443)),
        ("192.0.2.7:80", Target("192.0.2.7", 80)),
        ("2001:db8::1", Target("2001:db8::1", 443)),
        ("[2001:db8::1]:80", Target("2001:db8::1", 80)),
    ],
)
def test_an_address_with_or_without_a_port_is_read(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["example.org", "192.0.2.7:http", "192.0.2.7; reboot", "", "192.0.2.7:"])
def test_a_name_and_rubbish_are_refused(text: str) -> None:
    if text == "192.0.2.7:":
        assert parse_target(text) == Target("192.0.2.7")
        return
    with pytest.raises(DsopsError, match="is no address"):
        parse_target(text)


def try_it(target: Target) -> str:
    done = subprocess.run(["sh", "-c", HEAD + render_probe(target)], capture_output=True, text=True, check=True)
    return done.stdout.removeprefix("egress=").strip()


def test_the_attempt_is_one_connection_without_a_byte() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert try_it(Target("127.0.0.1", server.getsockname()[1])) == "open"
        taken, _ = server.accept()
        with taken:
            assert taken.recv(1) == b""
        port = server.getsockname()[1]
    assert try_it(Target("127.0.0.1", port)) == "Connection refused"


def test_it_is_part_of_the_script_only_when_asked_for() -> None:
    assert "/dev/tcp" not in render_script()
    script = render_script(Target("192.0.2.7"))
    assert "/dev/tcp/192.0.2.7/443" in script
    assert script.endswith("put end 1\n")


@pytest.mark.parametrize(
    ("said", "status", "what"),
    [
        ("open", Status.PROBLEM, "reached 192.0.2.7:443"),
        ("silence", Status.OK, "192.0.2.7:443 cannot be reached: no answer in 3 s"),
        ("Network is unreachable", Status.OK, "192.0.2.7:443 cannot be reached: network is unreachable"),
        ("Connection refused", Status.OK, "192.0.2.7:443 refused it: a firewall on the way, or that machine itself"),
        ("", Status.SKIPPED, "192.0.2.7:443 was not tried there"),
    ],
)
def test_what_came_of_it_is_judged(said: str, status: Status, what: str) -> None:
    (found,) = judge_probe("gpu1", said, target=Target("192.0.2.7"))
    assert (found.status, found.what[: len(what)]) == (status, what)


def test_without_being_asked_routes_and_resolvers_are_told() -> None:
    (found,) = judge_egress("gpu1", routes=["eth0"], resolvers=["192.0.2.53"])
    assert (found.status, "asks 192.0.2.53 for names" in found.what) == (Status.SKIPPED, True)
    assert judge_egress("gpu1", routes=[], resolvers=[])[0].status is Status.OK
