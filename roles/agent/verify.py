"""Does the agent of every server run, without privileges, and find nothing wrong?"""

import json

from dsops.control.fleet.http import read_status
from dsops.control.fleet.inventory import Server
from dsops.core.status import Condition

from roles.agent.defaults import Agent
from roles.ops.proofs import Host, check_runs, check_sandboxed, fetch, fetch_from_here, get_settings

GROUPS = ("all",)
UNIT = "dsops-agent.service"


def test_the_agent_runs_and_starts_at_boot(host: Host) -> None:
    check_runs(host, UNIT)


def test_the_agent_has_no_privileges(host: Host) -> None:
    check_sandboxed(host, UNIT, user="dsops-agent")


def test_the_agent_says_who_it_is_and_that_all_is_well(host: Host, server: Server) -> None:
    assert host
    status = read_status(server, timeout=5)
    assert (status.node, status.role) == (server.name, server.role)
    findings = "; ".join(f"{finding.entity}: {finding.reason}" for finding in status.findings)
    assert status.condition in {Condition.OK, Condition.MAINTENANCE}, f"{status.condition}: {findings}"


def test_the_agent_sees_as_many_gpus_as_the_inventory_promises(host: Host, server: Server) -> None:
    wanted = get_settings(Agent, server).agent_gpus if "gpu" in server.groups else 0
    status = json.loads(fetch(host, f"http://127.0.0.1:{server.agent_port}/v1/status")[1])
    assert wanted in {-1, len(status["gpus"])}, status["gpus_reason"]


def test_prometheus_finds_figures_at_the_agent(host: Host, server: Server) -> None:
    assert host
    status, body = fetch_from_here(f"http://{server.address}:{server.agent_port}/metrics")
    assert status == 200
    assert "\ndsops_" in body


def test_the_agent_accepts_no_change(host: Host, server: Server) -> None:
    code = "import sys,urllib.request as r; r.urlopen(r.Request(sys.argv[1], data=b'{}', method='POST'), timeout=5)"
    done = host.run("python3 -c %s %s", code, f"http://127.0.0.1:{server.agent_port}/v1/status")
    assert "405" in done.stderr
