"""The alerts, each fired once on the lab: from the fault to Alertmanager, where a person would be called."""

import base64
import json
import ssl
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from dsops.lab import gpus
from dsops.lab.place import LAB

from tests.live import faults
from tests.live.moves import Shelf, bring
from tests.live.site import ADDRESSES, SECRETS, Service, edit_state, find_status, on, restore, ssh
from tests.roles.test_alerts import RULES, TESTS

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
# Alert and node: all of them are provoked at once, since each takes its time.
WANTED = {
    ("NodeDown", "lb1"),
    ("AgentBlind", "gpu1"),
    ("ModelUnhealthy", "gpu2"),
    ("NodeHalted", "gpu2"),
    ("RollbackHappened", "gpu3"),
}


def read_alerts() -> list[dict[str, Any]]:
    """What Alertmanager holds now."""
    context = ssl.create_default_context(cafile=str(SECRETS / "ca.pem"))
    password = (SECRETS / "monitoring-password").read_text().strip()
    token = base64.b64encode(f"prometheus:{password}".encode()).decode()
    url = f"https://{ADDRESSES['mon1']}:9093/api/v2/alerts?active=true"
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})
    with urllib.request.urlopen(request, timeout=5, context=context) as answer:
        found: list[dict[str, Any]] = json.load(answer)
    return found


def find_firing() -> set[tuple[str, str]]:
    return {(one["labels"]["alertname"], one["labels"].get("node", "")) for one in read_alerts()}


@pytest.fixture(scope="module")
def provoked(service: Service, shelf: Shelf) -> Iterator[float]:
    """A server without its agent, one that sees nothing, one that fails and may not act, one that rolled back."""
    restore()
    bring(shelf["calm"], "gpu2", "gpu3")
    since = time.time()
    edit_state("gpu2", "replace(state, halted='a live test')")
    for node in ("gpu2", "gpu3"):
        faults.make_ill(node, "wrong")
    on("lb1", "systemctl stop dsops-agent")
    blind("gpu1")
    yield since
    on("lb1", "systemctl start dsops-agent")
    see("gpu1")
    restore()


def blind(node: str) -> None:
    """Its GPUs' driver hangs, as broken ones do."""
    server = LAB.find_server(node)
    assert server
    gpus.change(LAB.home(server).gpus, 0, {"hang": 3600})


def see(node: str) -> None:
    server = LAB.find_server(node)
    assert server
    gpus.reset(LAB.home(server).gpus, server)


def test_each_alert_comes_to_alertmanager(provoked: float) -> None:
    came: dict[tuple[str, str], float] = {}
    while len(came) < len(WANTED) and time.time() - provoked < 120:
        firing = find_firing()
        if ((find_status("gpu3") or {}).get("last_rollback_at") or 0) < provoked:
            firing -= {("RollbackHappened", "gpu3")}  # one of an earlier test
        for alert in firing & WANTED - came.keys():
            came[alert] = time.time() - provoked
        time.sleep(0.5)
    for (name, node), seconds in sorted(came.items(), key=lambda item: item[1]):
        print(f"{name:<18} {node}  {seconds:5.1f} s after its cause")
    assert came.keys() == WANTED
    told = {one["labels"]["alertname"]: one["annotations"] for one in read_alerts()}
    assert all(said["runbook"] == f"docs/runbooks/{name}.md" for name, said in told.items())


def test_the_rules_behave_as_tested_on_the_server_too(service: Service) -> None:
    text = TESTS.read_text().replace("../../roles/monitoring/templates/rules.yml", "/etc/prometheus/dsops-rules.yml")
    done = ssh("mon1", "cat > /tmp/alerts_test.yml && promtool test rules /tmp/alerts_test.yml", stdin=text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert on("mon1", "cat /etc/prometheus/dsops-rules.yml") == RULES.read_text().strip()
