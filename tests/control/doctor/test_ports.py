"""Ports: ours are fine, foreign holders are said with their process."""

from typing import Any

import pytest
from dsops.control.doctor.defaults import read_keys
from dsops.control.doctor.finding import Finding, Status
from dsops.control.doctor.ports import KEYS, Listener, Port, check_clashes, find_ports, judge_ports

from tests.control.doctor.sites import ROOT, make_server, make_site

OURS = Port(8080, "dsops-gateway.service")
SLOT = Port(8100, "triton@a.service", is_local=True)


def judge(port: Port, *held: Listener, ours: tuple[str, ...] = ()) -> Finding:
    (found,) = judge_ports("gpu1", [port], held, ours=ours)
    return found


def listener(address: str, number: int, unit: str = "", name: str = "python3") -> Listener:
    return Listener(address, number, name, "77", unit)


def test_every_port_of_the_roles_is_known_here() -> None:
    keys = read_keys(ROOT)
    assert {key for _, key, _ in KEYS} == {name for name in keys if name.endswith("_port")}
    assert all(keys[key].role == role for role, key, _ in KEYS)


def test_each_role_brings_its_ports_as_the_inventory_says() -> None:
    site = make_site()
    lb, gpu = make_server("lb1", "lb", nginx_port=8443), make_server(gateway_port=80)
    assert [port.number for port in find_ports(site, lb)] == [9410, 8443, 9412]
    assert [port.number for port in find_ports(site, gpu)] == [9410, 80, 9411, *range(8100, 8103), *range(8200, 8203)]


def test_free_and_our_own_are_ok() -> None:
    assert judge(OURS, listener("0.0.0.0", 22)).status is Status.OK
    assert judge(OURS, listener("0.0.0.0", 8080, "dsops-gateway.service")).status is Status.OK


@pytest.mark.parametrize(
    ("port", "held", "is_free"),
    [
        (OURS, listener("127.0.0.1", 8080), False),
        (OURS, listener("10.0.0.1", 8080, "other.service"), False),
        (OURS, listener("::", 8080), False),
        (SLOT, listener("0.0.0.0", 8100), False),
        (SLOT, listener("::ffff:127.0.0.1", 8100), False),
        (SLOT, listener("10.0.0.1", 8100), True),
        (SLOT, listener("::1", 8100), True),
        (SLOT, listener("127.0.0.1", 8100, "triton@b.service"), False),
    ],
)
def test_a_foreign_holder_counts_where_both_cannot_be(port: Port, held: Listener, is_free: bool) -> None:
    assert (judge(port, held).status is Status.OK) == is_free


def test_a_foreign_holder_is_named() -> None:
    found = judge(OURS, listener("0.0.0.0", 8080, "apache2.service", "apache2"))
    assert found.what == ("port 8080, which dsops-gateway.service needs, is held by apache2 (pid 77, apache2.service)")
    assert "systemctl status 77" in found.mend
    assert "no unit" in judge(OURS, listener("0.0.0.0", 8080)).what


def test_debians_own_nginx_is_foreign_until_our_role_wrote_its_configuration() -> None:
    port, held = Port(443, "nginx.service"), listener("0.0.0.0", 443, "nginx.service", "nginx")
    assert judge(port, held).status is Status.PROBLEM
    assert judge(port, held, ours=("nginx.service",)).status is Status.OK


def test_without_ss_nobody_knows() -> None:
    (found,) = judge_ports("gpu1", [OURS], None, ours=())
    assert found.status is Status.UNKNOWN


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ({"gateway_port": 9410}, "port 9410 is wanted by dsops-agent.service and by dsops-gateway.service"),
        ({"gateway_port": 8100}, "port 8100 is wanted by dsops-gateway.service and by triton@a.service"),
        ({"ssh_port": 8080}, "port 8080 is wanted by dsops-gateway.service and by sshd"),
    ],
)
def test_two_of_our_own_on_one_port_are_said(data: dict[str, Any], what: str) -> None:
    (found,) = check_clashes(make_site(make_server(**data)))
    assert (found.where, found.what) == ("gpu1", what)


def test_one_port_on_two_servers_is_no_clash() -> None:
    assert check_clashes(make_site(make_server(), make_server("lb1", "lb", nginx_port=8080))) == []
