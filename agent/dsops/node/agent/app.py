"""The agent's read-only HTTP: the status, its metrics, and the slots' own metrics from loopback."""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dsops.core.status import suggest
from dsops.node.agent.loop import Loop
from dsops.node.agent.metrics import render_families
from dsops.node.sources.http import Target, get

RELAY_SECONDS = 2.0
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class _Families(Collector):
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def collect(self) -> Iterable[Metric]:
        return render_families(self._loop.status, self._loop.gpus.sweep) if self._loop.status else ()


def build_app(loop: Loop) -> Starlette:
    """Routes over one loop; no route writes."""
    registry = CollectorRegistry()
    registry.register(_Families(loop))
    ports = {slot.name: slot.metrics for slot in loop.config.slots}

    async def status(_: Request) -> Response:
        if loop.status is None:
            return JSONResponse({"reason": "the agent has not finished its first tick"}, status_code=503)
        return Response(loop.status.to_json(), media_type="application/json")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def slot_metrics(request: Request) -> Response:
        name = request.path_params["slot"]
        if name not in ports:
            return JSONResponse({"reason": f"no slot {name!r}; {suggest(name, ports)}"}, status_code=404)
        if not (Path(loop.config.state) / "slots" / name).is_symlink():
            # Prometheus must not call a slot dead that was never meant to run.
            return Response(f"# slot {name} holds no release\n", media_type=TEXT)
        answer = await get(Target("/metrics", port=ports[name]), timeout=RELAY_SECONDS)
        if not answer.is_ok:
            return JSONResponse({"reason": f"slot {name}: {answer.says}"}, status_code=502)
        return Response(answer.body, media_type=TEXT)

    return Starlette(
        routes=[
            Route("/v1/status", status),
            Route("/metrics", metrics),
            Route("/metrics/slots/{slot}", slot_metrics),
        ]
    )
