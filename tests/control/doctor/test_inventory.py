"""The inventory's own problems: misspelt, missing, of the wrong type, unsafe, in no group, twice."""

from pathlib import Path
from typing import Any

import pytest
from dsops.control.doctor import inventory
from dsops.control.doctor.finding import Finding, Status
from dsops.control.doctor.site import Site
from dsops.control.fleet.inventory import get_fleet
from pyinfra.connectors.ssh import ConnectorData

from tests.control.doctor.sites import ROOT, make_server, make_site

SAFE = {
    "ssh_user": "root",
    "ssh_key": "k",
    "ssh_known_hosts_file": "h",
    "ssh_strict_host_key_checking": "yes",
    "bundle_path": "b",
    "bundle_allowed_signers": "s",
    "gateway_api_keys_file": "a",
}


def problems(site: Site) -> list[Finding]:
    return [finding for finding in inventory.check_inventory(site) if finding.status is Status.PROBLEM]


def only(**data: Any) -> Finding:
    (found,) = problems(make_site(make_server(**{**SAFE, **data})))
    return found


def test_a_good_one_has_nothing_but_ok_and_optional() -> None:
    found = inventory.check_inventory(make_site(make_server(**SAFE)))
    assert [f.check for f in found if f.status is Status.OK] == ["keys", "values", "connection", "servers"]
    assert {f.check for f in found if f.status is not Status.OK} == {"optional"}


def test_the_example_is_a_good_one() -> None:
    fleet = get_fleet(ROOT / "inventory/example.py")
    site = make_site(*fleet.servers)
    assert {f.status for f in inventory.check_inventory(site)} == {Status.OK}


def test_the_labs_is_a_good_one_without_time_servers() -> None:
    found = inventory.check_inventory(make_site(*get_fleet(ROOT / "inventory/lab.py").servers))
    assert [f.where for f in found if f.status is not Status.OK] == ["base_ntp_servers"]
    assert "clocks" in next(f.what for f in found if f.where == "base_ntp_servers")


@pytest.mark.parametrize(
    ("data", "what", "mend"),
    [
        ({"gateway_prot": 1}, "unknown key 'gateway_prot'", "did you mean gateway_port?"),
        ({"ssh_know_hosts_file": "h"}, "unknown key 'ssh_know_hosts_file'", "did you mean ssh_known_hosts_file?"),
        ({"gateway_port": "8080"}, "gateway_port should be a whole number, is '8080'", "mend gateway_port"),
        ({"base_ntp_servers": "a"}, "base_ntp_servers should be a list of texts, is 'a'", "mend base_ntp_servers"),
        ({"gateway_port": True}, "gateway_port should be a whole number, is True", "mend gateway_port"),
        ({"ssh_key": ""}, "ssh_key must be given", "set ssh_key"),
        ({"ssh_user": "ops"}, "the roles log in as root, not as another user", "write ssh_user = 'root'"),
        ({"_sudo": True}, "the roles log in as root, not as another user (_sudo)", "remove the others"),
        ({"preflight": "off"}, "preflight is 'off'", 'write "refuse" or "warn"'),
        ({"dsops_role": "gpus"}, "dsops_role names no role", "did you mean gpu?"),
        (
            {"ssh_strict_host_key_checking": "accept-new"},
            "ssh_strict_host_key_checking is not 'yes': pyinfra would trust any machine that answers",
            "write ssh_strict_host_key_checking = 'yes'",
        ),
    ],
)
def test_each_problem_is_said_with_its_mend(data: dict[str, Any], what: str, mend: str) -> None:
    found = only(**data)
    assert found.what == what
    assert mend in found.mend


def test_a_key_that_a_role_needs_is_asked_for_only_where_the_role_runs() -> None:
    gpu = make_server(**{**SAFE, "gateway_api_keys_file": "x"})
    lb = make_server("lb1", "lb", **SAFE, nginx_tls_cert_file="c")
    (found,) = problems(make_site(gpu, lb))
    assert (found.where, found.what) == ("lb1", "nginx_tls_key_file must be given (role nginx)")


def test_a_server_in_no_known_group_is_said() -> None:
    (found,) = problems(make_site(make_server("gpu1", "gpus", **SAFE)))
    assert found.what == "gpu1 is in no group that gets a role (its groups: gpus)"
    assert found.mend == "did you mean gpu?"


def test_two_servers_with_one_address_are_said() -> None:
    two = (make_server("gpu1", **SAFE), make_server("gpu2", **SAFE))
    (found,) = problems(make_site(*two))
    assert found.what == "gpu1, gpu2 have one address, 192.0.2.4"


def test_what_all_servers_share_is_said_once() -> None:
    data: dict[str, Any] = {**SAFE, "gateway_port": "x"}
    site = make_site(make_server("gpu1", **data), make_server("gpu_2", **data))
    site.fleet.key_places.update(gateway_port="all.py:1")  # type: ignore[attr-defined]
    assert [(f.where, f.check) for f in problems(site)] == [("all.py:1", "values")]


def test_the_ssh_keys_are_pyinfras() -> None:
    assert set(inventory.SSH_KEYS) == set(ConnectorData.__annotations__)


def test_pathless_site_names_its_group_data() -> None:
    assert str(Path("group_data/site.py")) in only(ssh_key="").mend
