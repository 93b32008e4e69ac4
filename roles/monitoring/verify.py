"""Do Prometheus and Alertmanager run behind TLS and a password, and does Prometheus see every server?"""

import json
from typing import Any

import pytest
from dsops.control.fleet.inventory import Fleet, Server

from roles.monitoring.defaults import Monitoring
from roles.ops.proofs import Host, check_runs, fetch_from_here, get_ca, get_owners, get_settings, get_unit, look_again

GROUPS = ("mon",)
UNITS = {"prometheus.service": "monitoring_port", "prometheus-alertmanager.service": "monitoring_alertmanager_port"}
PATHS = {"prometheus.service": "/api/v1/targets", "prometheus-alertmanager.service": "/api/v2/status"}


def ask(fleet: Fleet, server: Server, unit: str, *, path: str = "", password: str | None = None) -> tuple[int, str]:
    """(status, body) of one of the two; password: None sends none."""
    port = getattr(get_settings(Monitoring, server), UNITS[unit])
    url = f"https://{server.address}:{port}{path or PATHS[unit]}"
    user = "" if password is None else "prometheus"
    return fetch_from_here(url, ca=get_ca(fleet, server), user=user, password=password or "")


def read_password(fleet: Fleet, server: Server) -> str:
    """The password of the user `prometheus`."""
    return fleet.get_path(server, "monitoring_password_file").read_text().strip()


def get_targets(fleet: Fleet, server: Server) -> list[dict[str, Any]]:
    """What Prometheus scrapes, and how that goes."""
    status, body = ask(fleet, server, "prometheus.service", password=read_password(fleet, server))
    assert status == 200, body
    targets: list[dict[str, Any]] = json.loads(body)["data"]["activeTargets"]
    return targets


@pytest.mark.parametrize("unit", UNITS)
def test_both_run_and_start_at_boot(host: Host, unit: str) -> None:
    check_runs(host, unit)


@pytest.mark.parametrize("unit", UNITS)
def test_neither_runs_as_root(host: Host, unit: str) -> None:
    found = get_unit(host, unit)
    assert found["User"] == "prometheus"
    assert "0" not in found["Uid"].split()


@pytest.mark.parametrize("unit", UNITS)
def test_nobody_gets_in_without_a_password(host: Host, server: Server, fleet: Fleet, unit: str) -> None:
    assert host
    assert ask(fleet, server, unit)[0] == 401
    assert ask(fleet, server, unit, password="wrong")[0] == 401  # noqa: S106 - meant to be wrong


@pytest.mark.parametrize("unit", UNITS)
def test_the_password_opens_both_and_their_certificate_holds(
    host: Host, server: Server, fleet: Fleet, unit: str
) -> None:
    assert host
    assert ask(fleet, server, unit, password=read_password(fleet, server))[0] == 200


def test_every_server_is_scraped(host: Host, server: Server, fleet: Fleet) -> None:
    assert host
    found = {(t["labels"]["job"], t["labels"].get("node")) for t in get_targets(fleet, server)}
    wanted = {("agent", one.name) for one in fleet.servers}
    wanted |= {(job, one.name) for one in fleet.find_role("gpu") for job in ("gateway", "slot_a", "slot_b")}
    wanted |= {("balancer", one.name) for one in fleet.find_role("lb")}
    assert not wanted - found


def test_every_target_is_up(host: Host, server: Server, fleet: Fleet) -> None:
    assert host
    # One that was restarted is looked at again within a scrape interval.
    down = look_again(lambda: find_down(get_targets(fleet, server)), lambda found: not found)
    assert not down


def find_down(targets: list[dict[str, Any]]) -> dict[str, str]:
    """target -> why it is down. The slot that holds no release is quiet by design."""
    return {
        f"{target['labels']['job']} {target['labels'].get('node', '')}": target["lastError"]
        for target in targets
        if target["health"] != "up" and target["labels"]["job"] != "slot_b"
    }


def test_prometheus_knows_alertmanager_and_the_rules(host: Host, server: Server, fleet: Fleet) -> None:
    assert host
    password = read_password(fleet, server)
    managers = json.loads(ask(fleet, server, "prometheus.service", path="/api/v1/alertmanagers", password=password)[1])
    assert managers["data"]["activeAlertmanagers"]
    rules = json.loads(ask(fleet, server, "prometheus.service", path="/api/v1/rules", password=password)[1])
    assert [rule["name"] for group in rules["data"]["groups"] for rule in group["rules"]]
    assert all(rule["health"] != "err" for group in rules["data"]["groups"] for rule in group["rules"])


def test_their_secrets_are_theirs_alone(host: Host) -> None:
    names = ("tls/cert.pem", "tls/key.pem", "web.yml", "password", "prometheus.yml", "alertmanager.yml")
    wanted = {f"/etc/prometheus/{name}": "640 root prometheus" for name in names}
    assert get_owners(host, list(wanted)) == wanted
    assert get_owners(host, ["/etc/prometheus/tls"]) == {"/etc/prometheus/tls": "750 root prometheus"}


def test_their_own_tools_accept_the_configuration(host: Host) -> None:
    for check in (
        "promtool check config /etc/prometheus/prometheus.yml",
        "amtool check-config /etc/prometheus/alertmanager.yml",
    ):
        done = host.run(check)
        assert done.rc == 0, done.stdout + done.stderr
