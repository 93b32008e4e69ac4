"""What fires now, from the site's Alertmanager, as long as its Prometheus lives: a dead one fires nothing."""

import base64
import http.client
import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dsops.control.fleet.chat import Secret
from dsops.control.fleet.http import MAX_BYTES, describe
from dsops.control.fleet.inventory import Fleet, Server
from dsops.core.errors import DsopsError

# As the monitoring role's defaults say.
PROMETHEUS_PORT, ALERTMANAGER_PORT = 9090, 9093
USER = "prometheus"
WITHOUT = "mend the monitoring, or go on without looking at alerts: --without-alerts"


@dataclass(frozen=True)
class Alert:
    """One that fires and is not silenced. node: "" where it names none."""

    name: str
    node: str
    severity: str
    summary: str

    @property
    def says(self) -> str:
        """One line."""
        return self.summary or f"{self.name} {self.node}".strip()


@dataclass(frozen=True)
class Door:
    """One monitoring server, and what opens it."""

    node: str
    host: str
    prometheus_port: int
    alertmanager_port: int
    ca_file: Path
    password: Secret


def find_alerts(fleet: Fleet, *, timeout: float) -> tuple[Alert, ...] | None:
    """What fires now; None where the site has no monitoring. Raises DsopsError when it cannot be read."""
    servers = fleet.find_role("mon")
    if not servers:
        return None
    return read_any([partial(_read_server, fleet, server, timeout=timeout) for server in servers])


def _read_server(fleet: Fleet, server: Server, *, timeout: float) -> tuple[Alert, ...]:
    return read_alerts(open_door(fleet, server), timeout=timeout)


def read_any(reads: Sequence[Callable[[], tuple[Alert, ...]]]) -> tuple[Alert, ...]:
    """All that those say that can be read: what one of them misses fires in the other. Raises the last error."""
    found: list[Alert] = []
    errors: list[DsopsError] = []
    for read in reads:
        try:
            found += read()
        except DsopsError as error:
            errors.append(error)
    if len(errors) == len(reads):
        raise errors[-1]
    return tuple(dict.fromkeys(found))


def open_door(fleet: Fleet, server: Server) -> Door:
    """From the inventory. Raises DsopsError naming what it lacks."""
    file = fleet.get_path(server, "monitoring_password_file")
    try:
        password = Secret(file.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        what = f"the password of the monitoring cannot be read ({error})"
        raise DsopsError(what, where=str(file), mend=WITHOUT) from error
    return Door(
        server.name,
        server.address,
        server.get("monitoring_port", int, PROMETHEUS_PORT),
        server.get("monitoring_alertmanager_port", int, ALERTMANAGER_PORT),
        fleet.get_path(server, "dsops_ca_file"),
        password,
    )


def read_alerts(door: Door, *, timeout: float) -> tuple[Alert, ...]:
    """timeout in seconds for each step. Raises DsopsError."""
    _check_prometheus(door, timeout=timeout)
    path = "/api/v2/alerts?active=true&silenced=false&inhibited=false"
    return parse_alerts(_get(door, door.alertmanager_port, path, timeout=timeout), where=door.node)


def parse_alerts(body: bytes, *, where: str) -> tuple[Alert, ...]:
    """From Alertmanager's answer. Raises DsopsError."""
    try:
        return tuple(sorted((_parse_alert(one) for one in json.loads(body)), key=lambda one: (one.name, one.node)))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DsopsError("this is no answer of an Alertmanager", where=where, mend=WITHOUT) from error


def _parse_alert(one: Any) -> Alert:
    labels, notes = one["labels"], one.get("annotations", {})
    words = (labels["alertname"], labels.get("node", ""), labels.get("severity", ""), notes.get("summary", ""))
    return Alert(*(str(word) for word in words))


def _check_prometheus(door: Door, *, timeout: float) -> None:
    """It answers, and has an Alertmanager to tell: else silence would say nothing."""
    body = _get(door, door.prometheus_port, "/api/v1/alertmanagers", timeout=timeout)
    try:
        managers = json.loads(body)["data"]["activeAlertmanagers"]
    except (ValueError, LookupError, TypeError) as error:
        raise DsopsError("this is no answer of a Prometheus", where=door.node, mend=WITHOUT) from error
    if not managers:
        raise DsopsError("Prometheus has no Alertmanager to tell of alerts", where=door.node, mend=WITHOUT)


def _get(door: Door, port: int, path: str, *, timeout: float) -> bytes:
    where = f"{door.node} (https://{door.host}:{port})"
    token = base64.b64encode(f"{USER}:{door.password.reveal()}".encode()).decode()
    try:
        context = ssl.create_default_context(cafile=str(door.ca_file))
        connection = http.client.HTTPSConnection(door.host, port, timeout=timeout, context=context)
        try:
            connection.request("GET", path, headers={"Authorization": f"Basic {token}", "Connection": "close"})
            response = connection.getresponse()
            body = response.read(MAX_BYTES)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise DsopsError(f"the alerts cannot be read: {describe(error)}", where=where, mend=WITHOUT) from error
    if response.status != 200:
        raise DsopsError(f"the alerts cannot be read: HTTP {response.status}", where=where, mend=WITHOUT)
    return body
