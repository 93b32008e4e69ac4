"""The two doors for operators: admin (TCP, read only) and control (a local unix socket)."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.samples import Samples
from dsops.node.gateway.config import LANES
from dsops.node.gateway.door import Door, Health
from dsops.node.gateway.engine import Engine
from dsops.node.gateway.errors import ApiError
from dsops.node.gateway.http import Receive, Scope, Send, read_body, send_whole
from dsops.node.gateway.keyring import Keyring
from dsops.node.gateway.metrics import Metrics
from dsops.node.gateway.release import Releases
from dsops.node.gateway.traffic import TrafficApp
from dsops.node.gateway.triton import Slot
from dsops.node.gateway.window import Window

_log = logging.getLogger(__name__)
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
Answer = tuple[int, bytes, bytes]
Handler = Callable[[bytes], Awaitable[Answer]]
_KINDS = {str: "text", bool: "true or false"}


def _json(status: int, data: object) -> Answer:
    return status, json.dumps(data).encode(), b"application/json"


class _App:
    """Routes (method, path) to handlers that take a body and return an answer."""

    handlers: Mapping[tuple[str, str], Handler]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, body, kind = await self._answer(scope, receive)
        except ApiError as error:
            status, body, kind = error.status, error.render(), b"application/json"
        except Exception:
            _log.exception("%s: a bug in the gateway", scope["path"])
            bug = ApiError(500, "the gateway failed; its log has the reason", code="internal_error")
            status, body, kind = bug.status, bug.render(), b"application/json"
        await send_whole(send, status, body, kind=kind)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        handler = self.handlers.get((scope["method"], scope["path"]))
        if handler is None:
            known = ", ".join(" ".join(key) for key in self.handlers)
            raise ApiError(404, f"there is no {scope['method']} {scope['path']} here; known: {known}")
        return await handler(await read_body(receive, limit=65536) or b"")


class AdminApp(_App):
    """/metrics and /healthz; answers also while drained."""

    def __init__(self, *, health: Health, metrics: Metrics, door: Door, keyring: Keyring | None) -> None:
        self._health = health
        self._metrics = metrics
        self._door = door
        self._keyring = keyring
        self.handlers = {("GET", "/metrics"): self._show_metrics, ("GET", "/healthz"): self._tell_health}

    async def _show_metrics(self, _: bytes) -> Answer:
        self._metrics.drained.set(self._door.drained is not None)
        self._metrics.ejected.set(self._door.ejected is not None)
        self._metrics.keys_stale.set(bool(self._keyring and self._keyring.stale))
        return 200, self._metrics.render(), _PROMETHEUS

    async def _tell_health(self, _: bytes) -> Answer:
        return _json(*await self._health.ask())


PROBES = ("/v1/completions", "/v1/chat/completions")


class ControlApp(_App):
    """For whoever may open the local socket: drain, eject, status, and questions to the engine that need no key."""

    def __init__(
        self,
        *,
        door: Door,
        engine: Engine,
        health: Health,
        releases: Releases,
        slots: Mapping[str, Slot],
        window: Window,
        keyring: Keyring | None,
        metrics: Metrics,
        probes: TrafficApp,
    ) -> None:
        self._probes = probes
        self._door = door
        self._engine = engine
        self._health = health
        self._releases = releases
        self._slots = slots
        self._window = window
        self._keyring = keyring
        self._metrics = metrics
        self.handlers = {
            ("POST", "/drain"): self._drain,
            ("POST", "/undrain"): self._undrain,
            ("POST", "/eject"): self._eject,
            ("POST", "/admit"): self._admit,
            ("GET", "/status"): self._tell_status,
            ("GET", "/v1/samples"): self._tell_samples,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await self._probes(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _eject(self, body: bytes) -> Answer:
        wish = _read_wish(body, reason="no reason given", who="unknown")
        self._door.eject(reason=wish["reason"], who=wish["who"])
        return _json(200, {"ejected": True, "in_flight": self._engine.in_flight})

    async def _admit(self, body: bytes) -> Answer:
        wish = _read_wish(body, who="unknown")
        try:
            await self._door.admit(who=wish["who"])
        except DsopsError as error:
            raise ApiError(503, f"{error}; mend: {error.mend}", code="cannot_listen") from None
        return _json(200, {"ejected": False, "in_flight": self._engine.in_flight})

    async def _drain(self, body: bytes) -> Answer:
        wish = _read_wish(body, reason="no reason given", who="unknown", refuse=False)
        saved = await self._door.drain(reason=wish["reason"], who=wish["who"], refuse=wish["refuse"])
        return _json(200, {"drained": True, "persisted": saved, "in_flight": self._engine.in_flight})

    async def _undrain(self, _: bytes) -> Answer:
        try:
            saved = await self._door.undrain()
        except DsopsError as error:
            raise ApiError(503, f"{error}; mend: {error.mend}", code="cannot_listen") from None
        return _json(200, {"drained": False, "persisted": saved, "in_flight": self._engine.in_flight})

    async def _tell_samples(self, _: bytes) -> Answer:
        for name in self._slots:
            self._begin_counts(name)
        samples = Samples(node="", at=time.time(), releases=self._metrics.list_tallies())
        return 200, samples.to_json().encode(), b"application/json"

    def _begin_counts(self, slot: str) -> None:
        """So that those of a release have a life before its first request."""
        with suppress(DsopsError):
            self._metrics.get_counts(self._releases.get_release(slot).id)

    async def _tell_status(self, _: bytes) -> Answer:
        (_, health), *slots = await asyncio.gather(
            self._health.ask(patient=False), *(self._describe(name, slot) for name, slot in self._slots.items())
        )
        drained, ejected, now = self._door.drained, self._door.ejected, time.monotonic()
        status = {
            "in_flight": self._engine.in_flight,
            "tokens_per_second": round(self._window.tokens_per_second(now=now), 3),
            "p50_seconds": self._window.find_quantile(0.5, now=now),
            "p99_seconds": self._window.find_quantile(0.99, now=now),
            "phase": health["phase"],
            "reason": health.get("reason", ""),
            "drained": asdict(drained) if drained else None,
            "ejected": asdict(ejected) if ejected else None,
            "lanes": {lane: self._find_slot(lane) for lane in LANES},
            "slots": dict(zip(self._slots, slots, strict=True)),
            "keys": self._keyring.stale if self._keyring else "",
        }
        return _json(200, status)

    def _find_slot(self, lane: str) -> str | None:
        try:
            return self._releases.find_slot(lane)
        except DsopsError:
            return None

    async def _describe(self, name: str, slot: Slot) -> dict[str, Any]:
        readiness = await slot.glance()
        try:
            release: str | None = self._releases.get_release(name).id
        except DsopsError:
            release = None
        return {
            "release": release,
            "phase": readiness.phase,
            "reason": readiness.reason,
            "in_flight": slot.waiting,
            "tokens": slot.tokens,
            "idle_seconds": slot.idle_seconds,
        }


def _read_wish(body: bytes, **known: object) -> dict[str, Any]:
    """The body's keys over the known ones with their defaults; raises ApiError 400 on any other key or type."""
    try:
        data = json.loads(body or b"{}")
    except ValueError as error:
        raise ApiError(400, f"body is not JSON: {error}", code="invalid_json") from None
    wish: dict[str, Any] = dict(known)
    for key, value in data.items() if isinstance(data, dict) else [("body", data)]:
        if type(value) is not type(wish.get(key)):
            should = ", ".join(f'"{name}": {_KINDS[type(default)]}' for name, default in known.items())
            raise ApiError(400, f"{key}: should be {{{should}}}")
        wish[key] = value
    return wish
