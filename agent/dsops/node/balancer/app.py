"""The balancer's read-only HTTP: who is in, who is out and why."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dsops.node.balancer.loop import Loop


class _Families(Collector):
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def collect(self) -> Iterator[Metric]:
        return render_families(self._loop)


def build_app(loop: Loop, *, wall: Callable[[], float] = time.time) -> Starlette:
    """Routes over one loop; no route writes."""
    registry = CollectorRegistry()
    registry.register(_Families(loop))

    async def status(_: Request) -> Response:
        return JSONResponse(render_status(loop, wall=wall()))

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/v1/status", status), Route("/metrics", metrics)])


def render_status(loop: Loop, *, wall: float) -> dict[str, object]:
    """`since` in Unix seconds, latency in seconds."""
    offset = wall - loop.clock()
    nodes = [
        {
            "node": n.name,
            "in": n.is_in,
            "held": n.is_held,
            "since": n.since + offset,
            "look": n.look,
            "reason": n.reason,
            "latency_seconds": n.seconds,
            "link_error": loop.unwritten.get(n.name, ""),
        }
        for n in loop.state.nodes.values()
    ]
    kept = "every node looks dead: the last set is kept" if loop.state.is_kept else ""
    return {"version": 1, "kept": loop.state.is_kept, "reason": kept, "nodes": nodes}


def render_families(loop: Loop) -> Iterator[Metric]:
    """All families of the balancer."""
    nodes = loop.state.nodes.values()
    is_in = GaugeMetricFamily("dsops_balancer_node_in", "1 while the node gets traffic", labels=["node"])
    look = GaugeMetricFamily(
        "dsops_balancer_node_look", "1 at what the node's last answer said", labels=["node", "look"]
    )
    seconds = GaugeMetricFamily("dsops_balancer_poll_seconds", "How long the last poll took", labels=["node"])
    for node in nodes:
        is_in.add_metric([node.name], float(node.is_in))
        if node.look is not None:
            look.add_metric([node.name, node.look], 1)
        if node.seconds is not None:
            seconds.add_metric([node.name], node.seconds)
    yield from (is_in, look, seconds)
    kept = GaugeMetricFamily("dsops_balancer_kept", "1 while every node looks dead and the last set is kept")
    kept.add_metric([], float(loop.state.is_kept))
    failed = GaugeMetricFamily("dsops_balancer_links_unwritten", "Links that could not be switched and are tried again")
    failed.add_metric([], len(loop.unwritten))
    changes = CounterMetricFamily("dsops_balancer_changes", "Links switched since start")
    changes.add_metric([], loop.changes)
    yield from (kept, failed, changes)
