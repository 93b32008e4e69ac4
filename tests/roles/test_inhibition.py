"""One alert an incident: Alertmanager itself, with the role's file, says which alerts it holds back."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.ports import find_free_port
from tests.roles.promtool import ROOT, find_alertmanager

pytestmark = pytest.mark.slow
CONFIG = ROOT / "roles/monitoring/templates/alertmanager.yml"
SECONDS = 20.0


class Alertmanager:
    """One that runs on this machine."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api/v2/alerts"

    def ask(self, alerts: list[dict[str, Any]] | None = None) -> Any:
        data = None if alerts is None else json.dumps(alerts).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url, data, headers)
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read() or b"null")

    def tell(self, *alerts: dict[str, str]) -> None:
        self.ask([{"labels": labels} for labels in alerts])

    def find_held(self, count: int) -> set[str]:
        """Of so many alerts, when all were judged, those that are held back, as `name node`."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            found = self.ask()
            states = [one["status"]["state"] for one in found]
            if len(found) == count and "unprocessed" not in states:
                held = [one["labels"] for one in found if one["status"]["inhibitedBy"]]
                return {f"{labels['alertname']} {labels.get('node', '')}" for labels in held}
            time.sleep(0.2)
        raise AssertionError(found)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Alertmanager]:
    program, port = find_alertmanager(tmp_path / "program"), find_free_port()
    # It judges an alert when its group is due; half a minute is for people.
    config = CONFIG.read_text().replace("route:\n", "route:\n  group_wait: 1s\n")
    (tmp_path / "alertmanager.yml").write_text(config)
    argv = [
        *program,
        f"--config.file={tmp_path / 'alertmanager.yml'}",
        f"--storage.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    log = (tmp_path / "log").open("w")
    with log, subprocess.Popen(argv, stdout=log, stderr=log, cwd=tmp_path) as process:
        try:
            yield wait_for(Alertmanager(port), process, tmp_path / "log")
        finally:
            process.kill()


def wait_for(manager: Alertmanager, process: "subprocess.Popen[bytes]", log: Path) -> Alertmanager:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError):
            manager.ask()
            return manager
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def make(name: str, node: str, *, severity: str = "page", **labels: str) -> dict[str, str]:
    return {"alertname": name, "node": node, "severity": severity, **labels}


def test_a_server_that_people_work_on_wakes_nobody_and_the_others_do(manager: Alertmanager) -> None:
    manager.tell(
        make("NodeInMaintenance", "gpu1", severity="note"),
        make("NodeDown", "gpu1"),
        make("CheckFailed", "gpu1", severity="ticket", code="gpu.hot"),
        make("NodeDown", "gpu2"),
    )
    assert manager.find_held(4) == {"NodeDown gpu1", "CheckFailed gpu1"}


def test_one_cause_on_many_servers_holds_back_the_single_ones_of_that_code_only(manager: Alertmanager) -> None:
    manager.tell(
        {"alertname": "FleetFault", "severity": "page", "code": "xid.119"},
        *(make("NodeNeedsRepair", node, code="xid.119") for node in ("gpu1", "gpu2", "gpu3")),
        make("NodeNeedsRepair", "gpu4", code="xid.79"),
        make("NodeHalted", "gpu1"),
        {"alertname": "FleetFault", "severity": "ticket", "code": "net.drops"},
        make("NodeNeedsRepair", "gpu5", code="net.drops"),
    )
    assert manager.find_held(8) == {f"NodeNeedsRepair gpu{number}" for number in (1, 2, 3)}


def test_broken_hardware_holds_back_what_follows_from_it_on_its_own_server(manager: Alertmanager) -> None:
    manager.tell(
        make("NodeNeedsRepair", "gpu1", code="xid.79"),
        make("NodeEjected", "gpu1"),
        make("ModelUnhealthy", "gpu1"),
        make("BreakerTripped", "gpu1"),
        make("NodeEjected", "gpu2"),
    )
    assert manager.find_held(5) == {"NodeEjected gpu1", "ModelUnhealthy gpu1"}
