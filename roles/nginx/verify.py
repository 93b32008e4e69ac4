"""Does nginx answer with a certificate that holds, and does the balancer keep every node's link?"""

import json
import socket
import ssl
from typing import Any

import pytest
from dsops.control.fleet.inventory import Fleet, Server

from roles.nginx.defaults import Nginx
from roles.ops.proofs import (
    Host,
    check_runs,
    check_sandboxed,
    fetch_from_here,
    fetch_json,
    get_ca,
    get_owners,
    get_settings,
    look_again,
)

GROUPS = ("lb",)
NODES = "/run/dsops-lb/nodes"


@pytest.fixture
def said(server: Server) -> Nginx:
    """The role's settings."""
    return get_settings(Nginx, server)


@pytest.fixture
def base(server: Server, said: Nginx) -> str:
    """How clients reach it, without a path."""
    return f"https://{server.address}:{said.nginx_port}"


@pytest.mark.parametrize("unit", ["nginx.service", "dsops-balancer.service"])
def test_nginx_and_balancer_run_and_start_at_boot(host: Host, unit: str) -> None:
    check_runs(host, unit)


def test_the_balancer_has_no_privileges(host: Host) -> None:
    check_sandboxed(host, "dsops-balancer.service", user="dsops-balancer")


def test_nginx_accepts_its_configuration(host: Host) -> None:
    done = host.run("nginx -t -q")
    assert done.rc == 0, done.stderr


def test_the_certificate_is_vouched_for_by_the_sites_ca(host: Host, server: Server, said: Nginx, fleet: Fleet) -> None:
    assert host
    context = ssl.create_default_context(cafile=str(get_ca(fleet, server)))
    name = server.get("dsops_server_name", str, "") or server.address
    with (
        socket.create_connection((server.address, said.nginx_port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=name) as wrapped,
    ):
        assert wrapped.version() in {"TLSv1.2", "TLSv1.3"}


def test_old_tls_is_refused(host: Host, said: Nginx) -> None:
    code = (
        "import socket,ssl,sys,warnings; warnings.simplefilter('ignore')\n"
        "c=ssl._create_unverified_context(); c.set_ciphers('ALL:@SECLEVEL=0')\n"
        "c.minimum_version=ssl.TLSVersion.TLSv1; c.maximum_version=ssl.TLSVersion.TLSv1_1\n"
        "try: c.wrap_socket(socket.create_connection(('127.0.0.1',int(sys.argv[1])),5)); print('open')\n"
        "except (ssl.SSLError, ConnectionError): print('refused')"
    )
    assert host.check_output("python3 -c %s %s", code, str(said.nginx_port)).strip() == "refused"


def test_the_fleet_is_healthy_through_nginx(host: Host, server: Server, base: str, fleet: Fleet) -> None:
    assert host
    status, body = fetch_from_here(f"{base}/healthz", ca=get_ca(fleet, server))
    assert status == 200, body


def test_nobody_is_answered_without_a_key(host: Host, server: Server, base: str, fleet: Fleet) -> None:
    assert host
    status, body = fetch_from_here(f"{base}/v1/models", ca=get_ca(fleet, server))
    assert status == 401
    assert "error" in json.loads(body)


def test_other_paths_lead_nowhere(host: Host, server: Server, base: str, fleet: Fleet) -> None:
    assert host
    for path in ("/metrics", "/status", "/v2/health/ready"):
        assert fetch_from_here(f"{base}{path}", ca=get_ca(fleet, server))[0] == 404


def test_every_gpu_server_has_its_upstream_and_its_link(host: Host, fleet: Fleet) -> None:
    names = {server.name for server in fleet.find_role("gpu")}
    config = host.check_output("nginx -T 2>/dev/null")
    links = host.check_output(f"cd {NODES} && for l in *.sock; do echo $l $(readlink $l); done").splitlines()
    found = dict(line.split(" ", 1) for line in links)
    assert set(found) == {f"{name}.sock" for name in names}
    assert all(f"server unix:{NODES}/{name}.sock max_fails=0;" in config for name in names)


def test_the_balancer_says_that_no_node_is_dead(host: Host, said: Nginx) -> None:
    url = f"http://127.0.0.1:{said.nginx_balancer_port}/v1/status"
    status = look_again(lambda: fetch_json(host, url), lambda seen: not (seen["kept"] or _find_out(seen)))
    assert not status["kept"], status["reason"]
    assert not _find_out(status)


def _find_out(status: dict[str, Any]) -> dict[str, str]:
    """Nodes that are out of traffic, and were not drained by a person; why."""
    out = {node["node"]: node["reason"] for node in status["nodes"] if not node["in"]}
    return {name: reason for name, reason in out.items() if "drained" not in reason}


def test_the_private_key_is_roots_alone(host: Host) -> None:
    wanted = {
        "/etc/nginx/tls": "700 root root",
        "/etc/nginx/tls/key.pem": "600 root root",
        "/etc/nginx/tls/cert.pem": "600 root root",
        "/etc/nginx/nginx.conf": "644 root root",
        NODES: "755 dsops-balancer dsops-balancer",
        "/run/dsops-lb/inner": "755 root root",
    }
    assert get_owners(host, list(wanted)) == wanted
