"""The app behind the traffic door: routes, keys, and what happens to everything that goes wrong."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NoReturn

from dsops.core.errors import DsopsError
from dsops.node.gateway.answers import render_model, render_models
from dsops.node.gateway.ask import Ask, parse_chat, parse_completion, parse_json
from dsops.node.gateway.config import Config
from dsops.node.gateway.door import Door, Health
from dsops.node.gateway.engine import Engine
from dsops.node.gateway.errors import ApiError, retry_later
from dsops.node.gateway.exchange import CLIENT_LEFT, Exchange
from dsops.node.gateway.http import Receive, Scope, Send
from dsops.node.gateway.keyring import Keyring
from dsops.node.gateway.metrics import Metrics
from dsops.node.gateway.release import Releases, Target

_log = logging.getLogger(__name__)
_CHAT, _COMPLETIONS, _MODELS, _HEALTH = "/v1/chat/completions", "/v1/completions", "/v1/models", "/healthz"
_METHODS = {_CHAT: "POST", _COMPLETIONS: "POST", _MODELS: "GET", _HEALTH: "GET"}

Handler = Callable[[Exchange], Awaitable[None]]


class TrafficApp:
    """ASGI, without a framework: four paths need no router, and each layer costs every request.

    probing: the same way for the agent's own questions on the control socket: no key, also while the door is closed,
    to the slot that the header x-dsops-slot names, and apart from clients in every count.
    """

    def __init__(
        self,
        config: Config,
        *,
        door: Door,
        engine: Engine,
        health: Health,
        keyring: Keyring | None,
        metrics: Metrics,
        releases: Releases,
        probing: bool = False,
    ) -> None:
        self._probing = probing
        self._config = config
        self._door = door
        self._engine = engine
        self._health = health
        self._keyring = keyring
        self._metrics = metrics
        self._releases = releases
        self._handlers: dict[str, Handler] = {
            _CHAT: lambda exchange: self._generate(exchange, parse_chat),
            _COMPLETIONS: lambda exchange: self._generate(exchange, parse_completion),
            _MODELS: self._list_models,
            _HEALTH: self._tell_health,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, closing=lambda: self._door.is_closing)
        try:
            await self._answer(exchange)
        except asyncio.CancelledError:
            if exchange.client_left:
                exchange.status = CLIENT_LEFT
            elif not self._door.stopping:
                raise
            else:
                await exchange.refuse(retry_later(503, "the gateway is shutting down", code="stopping", after=2))
        finally:
            self._count(exchange)

    async def _answer(self, exchange: Exchange) -> None:
        try:
            handler = self._find_handler(exchange)
            await handler(exchange)
        except ApiError as error:
            self._log_error(exchange, error)
            await exchange.refuse(error)
        except Exception:
            _log.exception("request %s: a bug in the gateway", exchange.request_id)
            bug = ApiError(500, "the gateway failed; its log has the reason", code="internal_error")
            await exchange.refuse(bug)

    def _find_handler(self, exchange: Exchange) -> Handler:
        handler = self._handlers.get(exchange.path)
        if handler is None:
            if exchange.path.startswith(_MODELS + "/"):
                return self._show_model
            raise ApiError(404, f"there is no {exchange.path} here", code="unknown_path")
        wanted = _METHODS[exchange.path]
        if exchange.method != wanted:
            message = f"{exchange.path} takes {wanted}, not {exchange.method}"
            raise ApiError(405, message, code="method_not_allowed")
        return handler

    async def _generate(self, exchange: Exchange, parse: Callable[[dict[str, object]], Ask]) -> None:
        self._authorize(exchange)
        body = await exchange.read_body(limit=self._config.max_body, timeout=self._config.body_timeout)
        if self._door.refusing and not self._probing:  # not before the body is read: closing would reset the client
            self._refuse()
        ask = parse(parse_json(body))
        target = self._get_target(exchange)
        exchange.asks_text = True
        try:
            await self._engine.answer(exchange, ask, target, probing=self._probing)
        except ApiError as error:
            if error.code == "context_length_exceeded":
                error.param = "messages" if ask.messages else "prompt"
            raise

    def _refuse(self) -> NoReturn:
        why = self._door.refusing
        self._metrics.rejected.labels("draining" if why == "drained" else why).inc()
        code = "draining" if why == "drained" else why
        raise retry_later(503, f"this server is {why}", code=code, after=1)

    async def _list_models(self, exchange: Exchange) -> None:
        self._authorize(exchange)
        await exchange.send_json(200, render_models([self._get_target(exchange).release]))

    async def _show_model(self, exchange: Exchange) -> None:
        self._authorize(exchange)
        release, name = self._get_target(exchange).release, exchange.path.removeprefix(_MODELS + "/")
        if name != release.model:
            raise ApiError(404, f"the model {name!r} does not exist here", code="model_not_found", param="model")
        await exchange.send_object(200, render_model(release))

    async def _tell_health(self, exchange: Exchange) -> None:
        await exchange.send_object(*await self._health.ask())

    def _authorize(self, exchange: Exchange) -> None:
        if self._keyring is None or (exchange.key and self._keyring.find_name(exchange.key)):
            return
        self._metrics.rejected.labels("key").inc()
        if not exchange.key:
            message = "no API key was given; send it as `Authorization: Bearer KEY`"
            raise ApiError(401, message, code="missing_api_key")
        raise ApiError(401, "this API key is not known here", code="invalid_api_key")

    def _get_target(self, exchange: Exchange) -> Target:
        try:
            target = self._find_asked(exchange) or self._releases.get_target(exchange.lane)
        except DsopsError as error:
            _log.warning("%s (mend: %s)", error, error.mend)
            self._metrics.rejected.labels("not_ready").inc()
            raise retry_later(503, error.what, code="not_ready", after=5) from None
        exchange.release = target.release.id
        return target

    def _find_asked(self, exchange: Exchange) -> Target | None:
        """The slot that a probe wants, whatever the lane says; raises DsopsError when it holds no release."""
        slot = exchange.get_header(b"x-dsops-slot") if self._probing else ""
        return Target(lane=exchange.lane, slot=slot, release=self._releases.get_release(slot)) if slot else None

    def _log_error(self, exchange: Exchange, error: ApiError) -> None:
        if error.status >= 500:
            _log.warning("request %s: %d %s: %s", exchange.request_id, error.status, error.code, error.message)

    def _count(self, exchange: Exchange) -> None:
        route = exchange.path if exchange.path in self._handlers else "other"
        lane = exchange.lane if exchange.release else ""
        if self._probing:  # also of a release that has no traffic, and so no series that would be forgotten with it
            self._metrics.count_request("probe", exchange.status)
        else:
            self._metrics.count_request(route, exchange.status, lane=lane, release=exchange.release)
            self._count_outcome(exchange)
        if self._config.access_log:
            _log.info(
                "request %s: %s %d lane=%s release=%s",
                exchange.request_id,
                exchange.path,
                exchange.status,
                lane,
                exchange.release,
            )

    def _count_outcome(self, exchange: Exchange) -> None:
        """What says something of the release: no client's own error, no client that left, no full house."""
        came_to = exchange.came_to
        if exchange.asks_text and (came_to == 200 or came_to >= 500):
            self._metrics.count_outcome(exchange.release, failed=came_to >= 500)
