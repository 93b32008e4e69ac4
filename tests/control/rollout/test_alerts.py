"""What fires, as a real TLS server with a password tells it; and that silence of a dead Prometheus is no silence."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from dsops.control.fleet.inventory import Fleet, get_fleet
from dsops.control.rollout.alerts import Alert, find_alerts, read_any
from dsops.control.rollout.doors import RealDoors
from dsops.core.errors import DsopsError

from tests.control.fleet.test_chat import make_certificate

FIRES = {
    "labels": {"alertname": "NodeDown", "node": "gpu2", "severity": "page"},
    "annotations": {"summary": "gpu2 does not answer"},
}
ALERTS, MANAGERS = "/api/v2/alerts?active=true&silenced=false&inhibited=false", "/api/v1/alertmanagers"


@contextmanager
def serving(folder: Path, answers: dict[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """Prometheus and Alertmanager on one port, behind TLS; (port, what came as Authorization)."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            body = json.dumps(answers.get(self.path)).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "cert.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server.server_address[1], seen
    finally:
        server.shutdown()
        server.server_close()


def make_fleet(folder: Path, port: int) -> Fleet:
    (folder / "password").write_text("secret\n")
    data = {
        "ssh_hostname": "localhost",
        "monitoring_port": port,
        "monitoring_alertmanager_port": port,
        "monitoring_password_file": str(folder / "password"),
        "dsops_ca_file": str(folder / "cert.pem"),
    }
    (folder / "site.py").write_text(f"mon = [('mon1', {data!r})]\n")
    return get_fleet(folder / "site.py")


@pytest.fixture
def answers() -> dict[str, Any]:
    return {ALERTS: [FIRES], MANAGERS: {"data": {"activeAlertmanagers": [{"url": "x"}]}}}


@pytest.fixture
def fleet(tmp_path: Path, answers: dict[str, Any]) -> Iterator[Fleet]:
    make_certificate(tmp_path, "localhost")
    with serving(tmp_path, answers) as (port, _):
        yield make_fleet(tmp_path, port)


def test_what_fires_is_read_with_the_monitoring_s_password(tmp_path: Path, answers: dict[str, Any]) -> None:
    make_certificate(tmp_path, "localhost")
    with serving(tmp_path, answers) as (port, seen):
        found = find_alerts(make_fleet(tmp_path, port), timeout=2)
    assert found == (Alert("NodeDown", "gpu2", "page", "gpu2 does not answer"),)
    assert set(seen) == {"Basic cHJvbWV0aGV1czpzZWNyZXQ="}


def test_nothing_fires_only_where_prometheus_lives_and_has_somebody_to_tell(
    fleet: Fleet, answers: dict[str, Any]
) -> None:
    answers[ALERTS] = []
    assert find_alerts(fleet, timeout=2) == ()
    answers[MANAGERS] = {"data": {"activeAlertmanagers": []}}
    with pytest.raises(DsopsError, match="Prometheus has no Alertmanager"):
        find_alerts(fleet, timeout=2)
    del answers[MANAGERS]
    with pytest.raises(DsopsError, match="the alerts cannot be read: HTTP 404"):
        find_alerts(fleet, timeout=2)


@pytest.mark.parametrize("nonsense", ["a text", [{"labels": {}}], {"status": "error"}, 7])
def test_nonsense_is_no_silence(fleet: Fleet, answers: dict[str, Any], nonsense: object) -> None:
    answers[ALERTS] = nonsense
    with pytest.raises(DsopsError, match="no answer of an Alertmanager"):
        find_alerts(fleet, timeout=2)


def test_what_cannot_be_read_holds_and_says_so_unless_one_goes_without(tmp_path: Path) -> None:
    make_certificate(tmp_path, "localhost")
    fleet = make_fleet(tmp_path, 1)
    (why,) = RealDoors(fleet, (), "me").find_alerts()
    assert "the alerts cannot be read: connection refused" in why
    assert "--without-alerts" in why
    assert RealDoors(fleet, (), "me", alerts=False).find_alerts() == ()


def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path, fleet: Fleet) -> None:
    make_certificate(tmp_path, "localhost")  # another one: the server shows the first
    with pytest.raises(DsopsError, match="certificate verify failed"):
        find_alerts(fleet, timeout=2)


def test_a_site_without_monitoring_has_no_alerts(tmp_path: Path) -> None:
    (tmp_path / "site.py").write_text("gpu = ['gpu1']\n")
    assert find_alerts(get_fleet(tmp_path / "site.py"), timeout=1) is None


def test_one_of_two_monitoring_servers_is_enough() -> None:
    def fail() -> tuple[Alert, ...]:
        raise DsopsError("it is dead")

    alert = Alert("NodeDown", "mon2", "page", "")
    assert read_any([fail, lambda: (alert,)]) == (alert,)
    assert alert.says == "NodeDown mon2"
    with pytest.raises(DsopsError, match="it is dead"):
        read_any([fail, fail])
