"""The registry of listening ports: every role is in it, two never claim one port, and the tables follow from it."""

import re
from pathlib import Path

import pytest
from dsops.control.fleet.inventory import get_fleet
from dsops.core.errors import DsopsError

from roles.ops.listens import CLIENTS, CONTROL, EVERY, Listen, check_ports, find_listens, get_listens, render_table
from roles.ops.proofs import get_public_ports
from roles.ops.site import KINDS

ROOT = Path(__file__).parents[2]
FILES = [file for file in sorted(ROOT.glob("roles/*/listens.py")) if file.parent.name != "ops"]


def test_every_role_with_a_listens_file_is_collected() -> None:
    assert {file.parent.name for file in FILES} == {"agent", "gateway", "monitoring", "nginx", "ssh"}
    assert {listen.key.split("_")[0] for listen in get_listens()} == {"dsops", "gateway", "monitoring", "nginx", "ssh"}


def test_every_port_that_an_inventory_may_move_is_in_the_registry() -> None:
    keys = {name for kind in KINDS for name in kind.__dataclass_fields__ if name.endswith("_port")}
    assert keys == {listen.key for listen in get_listens()} - {"ssh_port"}


def test_the_defaults_are_those_of_the_roles() -> None:
    defaults = {name: field.default for kind in KINDS for name, field in kind.__dataclass_fields__.items()}
    assert all(listen.default == defaults.get(listen.key, 22) for listen in get_listens())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_role_listens_on_the_servers_that_it_is_verified_on(file: Path) -> None:
    groups = re.search(r"^GROUPS = \((.+),\)$", (file.parent / "verify.py").read_text(), re.MULTILINE)
    listens = re.findall(r'on="(\w+)"', file.read_text())
    assert groups
    assert listens[0] == groups[1].strip('"')


def test_sources_are_words_that_the_firewall_knows() -> None:
    known = {"lb", "gpu", "mon", EVERY, CONTROL, CLIENTS}
    assert {word for listen in get_listens() for word in listen.reached_from} <= known


def test_operators_reach_every_port() -> None:
    reached = {listen.key for listen in get_listens() if CONTROL in listen.reached_from}
    assert reached == {listen.key for listen in get_listens()}


def test_each_group_has_its_ports() -> None:
    assert {one.default for one in find_listens(["gpu"])} == {22, 9410, 8080, 9411}
    assert {one.default for one in find_listens(["lb", "mon"])} == {22, 9410, 443, 9412, 9090, 9093}
    assert {one.default for one in find_listens([])} == {22, 9410}


def test_an_inventory_without_any_claim_twice_has_no_problem() -> None:
    assert check_ports("gpu1", ["gpu"], {}) == []
    assert check_ports("gpu1", ["gpu"], {"gateway_port": 9090}) == []  # Prometheus is elsewhere


def test_a_port_that_is_claimed_twice_on_one_server_is_a_problem_that_names_both() -> None:
    (said,) = check_ports("gpu1", ["gpu"], {"gateway_port": 9410})
    assert said == "gpu1: agent (dsops_agent_port) and gateway (gateway_port) both claim port 9410/tcp; move one"
    assert check_ports("all-in-one", ["lb", "mon"], {"monitoring_port": 443})


@pytest.mark.parametrize("port", [0, 65536, "8080", True, None])
def test_a_port_that_is_none_is_a_problem(port: object) -> None:
    (said,) = check_ports("gpu1", ["gpu"], {"gateway_port": port})
    assert said == f"gpu1: gateway_port should be a port, is {port!r}"
    with pytest.raises(DsopsError, match="should be a port"):
        Listen("x_port", 1, "x", on="all", reached_from=()).get_port({"x_port": port})


def test_what_should_listen_on_a_server_is_derived_from_it(tmp_path: Path) -> None:
    path = tmp_path / "site.py"
    path.write_text("gpu = [('gpu1', {'gateway_port': 8000, 'ssh_port': 2222})]\nlb = [('lb1', {})]\n")
    fleet = get_fleet(path)
    expected = {2222: "ssh", 9410: "agent", 8000: "gateway", 9411: "gateway's metrics"}
    assert get_public_ports(fleet.get_server("gpu1")) == expected
    assert get_public_ports(fleet.get_server("lb1")) == {22: "ssh", 9410: "agent", 443: "nginx", 9412: "balancer"}


def test_the_table_says_who_reaches_what() -> None:
    assert render_table().splitlines() == [
        "| clients | lb | 443 |",
        "| gpu | gpu | 9410 |",
        "| lb | gpu | 8080, 9411 |",
        "| mon | all | 9410; gpu 9411; lb 9412 |",
        "| control host | all | 22, 9410; gpu 8080, 9411; lb 443, 9412; mon 9090, 9093 |",
    ]


def test_the_layout_page_has_that_very_table() -> None:
    page = (ROOT / "docs/layout.md").read_text()
    section = page.split("## What must be open between servers")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| from ")]
    # What goes out is nobody's port here.
    assert "".join(f"{row}\n" for row in rows if "time servers" not in row) == render_table()
