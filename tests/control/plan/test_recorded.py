"""Dry runs as pyinfra 3.10.0 and the roles told them of three lab servers: as wanted, and edited by hand."""

from pathlib import Path

from dsops.core.dry import Certainty, Dry, parse_dry

HERE = Path(__file__).with_name("recorded")


def recorded(name: str) -> Dry:
    return parse_dry((HERE / f"{name}.json").read_text(), (HERE / f"{name}.book").read_text())


def test_servers_as_wanted_have_no_changes() -> None:
    assert dict(recorded("same").changes) == {"n1": (), "n2": (), "n3": ()}


def test_what_was_edited_by_hand_is_found_where_it_was() -> None:
    found = recorded("drifted").changes
    agent = ["agent: configuration", "agent: running"]
    base = ["base: apt reads the bundle only", "base: time servers", "base: limits"]
    assert {name: [one.operation for one in changes] for name, changes in found.items()} == {
        "n1": agent,
        "n2": agent,
        "n3": base,
    }
    assert all(one.certainty is Certainty.SURE for changes in found.values() for one in changes)
    (limits,) = found["n3"][2].details
    assert [line for line in limits.diff if line[0] in "+-"] == [
        "-*    soft nofile 1024",
        "-*    hard nofile 1024",
        "+*    soft nofile 65536",
        "+*    hard nofile 65536",
    ]


def test_a_file_that_was_closed_by_hand_is_not_shown() -> None:
    (conf,) = recorded("drifted").changes["n3"][0].details
    assert (conf.secret, conf.diff, conf.says) == (True, (), "600 root root -> 644 root root")


def test_a_service_that_reads_an_edited_file_restarts() -> None:
    (unit,) = recorded("drifted").changes["n2"][1].details
    assert (unit.kind, unit.target, unit.says) == ("unit", "dsops-agent.service", "restart")
