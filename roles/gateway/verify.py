"""Does the gateway of every gpu server answer, without privileges, and only with a key?"""

import pytest
from dsops.control.fleet.inventory import Fleet, Server

from roles.gateway.defaults import Gateway
from roles.ops.proofs import (
    Host,
    check_runs,
    check_sandboxed,
    fetch,
    fetch_from_here,
    fetch_json,
    get_listeners,
    get_owners,
    get_settings,
)

GROUPS = ("gpu",)
UNIT = "dsops-gateway.service"


@pytest.fixture
def said(server: Server) -> Gateway:
    """The role's settings."""
    return get_settings(Gateway, server)


def skip_when_drained(host: Host, said: Gateway) -> None:
    """A drained node refuses traffic on purpose."""
    health = fetch_json(host, f"http://127.0.0.1:{said.gateway_admin_port}/healthz")
    if "drained" in str(health):
        pytest.skip(f"drained: {health}")


def test_the_gateway_runs_and_starts_at_boot(host: Host) -> None:
    check_runs(host, UNIT)


def test_the_gateway_has_no_privileges(host: Host) -> None:
    check_sandboxed(host, UNIT, user="dsops-gateway")


def test_the_gateway_listens_on_its_ports(host: Host, said: Gateway) -> None:
    skip_when_drained(host, said)
    ports = {one.port for one in get_listeners(host) if not one.is_local}
    assert {said.gateway_port, said.gateway_admin_port} <= ports


def test_the_gateway_is_healthy(host: Host, said: Gateway) -> None:
    skip_when_drained(host, said)
    status, body = fetch(host, f"http://127.0.0.1:{said.gateway_port}/healthz")
    assert status == 200, body


def test_nobody_is_answered_without_a_key(host: Host, server: Server, said: Gateway) -> None:
    skip_when_drained(host, said)
    base = f"http://{server.address}:{said.gateway_port}"
    assert fetch_from_here(f"{base}/v1/models")[0] == 401
    assert fetch_from_here(f"{base}/v1/models", headers={"Authorization": "Bearer dsops-wrong"})[0] == 401


def test_the_operators_key_opens_the_gateway(host: Host, server: Server, said: Gateway, fleet: Fleet) -> None:
    skip_when_drained(host, said)
    if not server.data.get("dsops_api_key_file"):
        pytest.skip("the inventory names no dsops_api_key_file")
    key = fleet.get_path(server, "dsops_api_key_file").read_text().strip()
    url = f"http://{server.address}:{said.gateway_port}/v1/models"
    status, body = fetch_from_here(url, headers={"Authorization": f"Bearer {key}"})
    assert status == 200
    assert '"data"' in body


def test_keys_and_state_are_the_gateways_and_nobody_elses(host: Host) -> None:
    wanted = {
        "/etc/dsops/api-keys": "640 root dsops-gateway",
        "/etc/dsops/gateway.toml": "644 root root",
        "/var/lib/dsops/state/gateway": "750 dsops-gateway dsops-gateway",
        "/run/dsops": "750 dsops-gateway dsops-gateway",
        "/run/dsops/gateway.sock": "660 dsops-gateway dsops-gateway",
    }
    assert get_owners(host, list(wanted)) == wanted


def test_no_key_lies_on_the_server_in_the_clear(host: Host) -> None:
    lines = host.file("/etc/dsops/api-keys").content_string.splitlines()
    keys = [line for line in lines if line.strip() and not line.startswith("#")]
    assert keys
    assert all(len(line.split(":")) == 3 and len(line.split(":")[2]) == 64 for line in keys)


def test_the_configuration_passes_the_gateways_own_check(host: Host) -> None:
    check = "/opt/dsops/venv/bin/python -I -m dsops.node.gateway --check --config /etc/dsops/gateway.toml"
    done = host.run(check)
    assert done.rc == 0, done.stderr
