"""Does the agent of every server run, without privileges, look at what it should, and find nothing wrong?"""

import json
import tomllib

import pytest
from dsops.control.fleet.http import read_status
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.status import Condition, Verdict

from roles.agent.defaults import Agent
from roles.agent.deploy import KMSG, role_of
from roles.ops.proofs import Host, check_runs, check_sandboxed, fetch, fetch_from_here, get_settings, look_again

GROUPS = ("all",)
UNIT = "dsops-agent.service"
# capabilities(7): enough to open the kernel's log
CAP_SYSLOG = 1 << 34


def test_the_agent_runs_and_starts_at_boot(host: Host) -> None:
    check_runs(host, UNIT)


def test_the_agent_has_no_privileges(host: Host, server: Server) -> None:
    reads_log = "gpu" in server.groups and get_settings(Agent, server).agent_kernel_log == KMSG
    check_sandboxed(host, UNIT, user="dsops-agent", capabilities=CAP_SYSLOG if reads_log else 0)


def test_the_agent_says_who_it_is_and_that_all_is_well(host: Host, server: Server) -> None:
    assert host
    well = {Condition.OK, Condition.MAINTENANCE}
    status = look_again(lambda: read_status(server, timeout=5), lambda seen: seen.condition in well)
    assert (status.node, status.role) == (server.name, role_of(list(server.groups)))
    findings = "; ".join(f"{finding.entity}: {finding.reason}" for finding in status.findings)
    assert status.condition in well, f"{status.condition}: {findings}"


def test_the_agent_sees_as_many_gpus_as_the_inventory_promises(host: Host, server: Server) -> None:
    wanted = get_settings(Agent, server).agent_gpus if "gpu" in server.groups else 0
    status = json.loads(fetch(host, f"http://127.0.0.1:{server.agent_port}/v1/status")[1])
    assert wanted in {-1, len(status["gpus"])}, status["gpus_reason"]


def test_systemd_ends_an_agent_that_does_not_look(host: Host) -> None:
    assert host.check_output(f"systemctl show -p WatchdogUSec --value {UNIT}").strip() == "45s"


def test_the_agent_asks_the_active_release_its_golden_prompts(host: Host, server: Server) -> None:
    if "gpu" not in server.groups:
        pytest.skip("only gpu servers hold a release")
    status = look_again(
        lambda: read_status(server, timeout=5),
        lambda seen: seen.verdict is Verdict.OK or not seen.release,
        seconds=get_settings(Agent, server).agent_probe_seconds + 10,
    )
    assert not status.release or status.verdict is Verdict.OK, f"{status.verdict}, {status.strikes} strikes"
    assert "dsops_probe_total" in fetch(host, f"http://127.0.0.1:{server.agent_port}/metrics")[1]


def test_the_agent_may_ask_gateway_and_helper_and_keeps_a_history(host: Host, server: Server) -> None:
    if "gpu" not in server.groups:
        pytest.skip("only gpu servers hold a release")
    groups = host.check_output("id -nG dsops-agent").split()
    assert {"dsops-gateway", "dsops-store"} <= set(groups)
    status, body = fetch(host, f"http://127.0.0.1:{server.agent_port}/v1/history")
    assert (status, json.loads(body)["trouble"]) == (200, "")


def test_the_agent_reaches_the_agents_of_the_other_nodes(host: Host, fleet: Fleet, server: Server) -> None:
    if "gpu" not in server.groups:
        pytest.skip("only gpu servers have peers")
    config = tomllib.loads(host.check_output("cat /etc/dsops/agent.toml"))
    others = {other.name for other in fleet.servers if "gpu" in other.groups} - {server.name}
    assert {peer["name"] for peer in config.get("peers", ())} == others
    for peer in config.get("peers", ()):
        assert fetch(host, f"http://{peer['address']}/v1/status")[0] == 200, f"{peer['name']} cannot be asked"


def test_prometheus_finds_figures_at_the_agent(host: Host, server: Server) -> None:
    assert host
    status, body = fetch_from_here(f"http://{server.address}:{server.agent_port}/metrics")
    assert status == 200
    assert "\ndsops_" in body


def test_the_agent_accepts_no_change(host: Host, server: Server) -> None:
    code = "import sys,urllib.request as r; r.urlopen(r.Request(sys.argv[1], data=b'{}', method='POST'), timeout=5)"
    done = host.run("python3 -c %s %s", code, f"http://127.0.0.1:{server.agent_port}/v1/status")
    assert "405" in done.stderr
