"""The agent's read-only HTTP: status, story and history, its metrics, and the slots' own metrics from loopback."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dsops.core.decode import suggest
from dsops.core.errors import DsopsError
from dsops.core.samples import NOTHING, ReleaseTally, Samples
from dsops.core.status import NodeStatus, Phase
from dsops.node.agent.checklist import find_checklist
from dsops.node.agent.loop import Loop
from dsops.node.agent.metrics import Acts, render_acts, render_families, render_gpus
from dsops.node.agent.sampling import Sampling
from dsops.node.sources.gateway import read_samples
from dsops.node.sources.http import Target, get

RELAY_SECONDS = 2.0
HISTORY_SECONDS = 3.0
USUAL = 50
MOST = 10_000
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class _Families(Collector):
    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def collect(self) -> Iterable[Metric]:
        status = self._loop.status
        if status is None:
            return
        yield from render_families(status, self._loop.gpus.sweep)
        yield from render_gpus(self._loop.gpus, self._loop.gpu_counters, self._loop.checkup.xids)
        if self._loop.watch:
            yield from render_acts(status, find_acts(self._loop))


def find_acts(loop: Loop) -> Acts:
    """What there is to count."""
    watch = loop.watch
    if watch is None:
        return Acts()
    return Acts(
        probes=watch.counters.probes,
        rollbacks=loop.rollbacks,
        restarts=watch.counters.restarts,
        last_rollback_at=loop.last_rollback,
        peers_failing=sum(peer.fails for peer in watch.heard.peers),
        blame=watch.ruling.blame if watch.ruling else None,
        history_trouble=bool(loop.history.trouble),
    )


async def find_samples(loop: Loop) -> Samples:
    """Of the releases in the slots, and of those that were: one that comes back is judged by what came since.

    Raises DsopsError when the gateway does not say: no data is no sample of none.
    """
    status, watch, config = loop.status, loop.watch, loop.config
    if status is None or watch is None or config.gateway is None:
        raise DsopsError("there is nothing to count here", mend="ask a server that has slots and a gateway")
    real = await read_samples(Path(config.gateway.socket), timeout=config.answer_seconds)
    sampling = watch.canary.sampling
    here = [slot.release for slot in status.slots if slot.release]
    counted = [one.release for one in real.releases]
    releases = dict.fromkeys([*here, *counted, *sampling.tallies])
    return Samples(
        config.node, time.time(), tuple(join(real.find(name) or ReleaseTally(name), sampling) for name in releases)
    )


def join(real: ReleaseTally, sampling: Sampling) -> ReleaseTally:
    """What clients asked, with what dsops itself asked; the two live in two processes."""
    synthetic = sampling.tallies.get(real.release, NOTHING)
    return replace(real, synthetic=synthetic, lives=f"{real.lives}.{sampling.life}")


T = TypeVar("T")


async def ask_history(call: Callable[[], T]) -> T | None:
    """What the database says; None when its disk does not answer."""
    try:
        async with asyncio.timeout(HISTORY_SECONDS):
            return await asyncio.to_thread(call)
    except TimeoutError:
        return None


def parse_limit(text: str | None) -> int | None:
    """A whole number from 1 to what is kept; None when it is none."""
    if text is None:
        return USUAL
    return int(text) if text.isdecimal() and 1 <= int(text) <= MOST else None


def is_idle(status: NodeStatus | None, name: str) -> bool:
    """Whether the slot was stopped and the other one has the traffic."""
    if status is None or status.slot in ("", name):
        return False
    return any(slot.name == name and slot.phase is Phase.STOPPED for slot in status.slots)


def build_app(loop: Loop) -> Starlette:
    """Routes over one loop; no route writes."""
    registry = CollectorRegistry()
    registry.register(_Families(loop))
    ports = {slot.name: slot.metrics for slot in loop.config.slots}

    async def status(_: Request) -> Response:
        if loop.status is None:
            return JSONResponse({"reason": "the agent has not finished its first tick"}, status_code=503)
        return Response(loop.status.to_json(), media_type="application/json")

    async def checks(_: Request) -> Response:
        found = find_checklist(loop)
        if found is None:
            return JSONResponse({"reason": "the agent has not finished its first tick"}, status_code=503)
        return Response(found.to_json(), media_type="application/json")

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def slot_metrics(request: Request) -> Response:
        name = request.path_params["slot"]
        if name not in ports:
            return JSONResponse({"reason": f"no slot {name!r}; {suggest(name, ports)}"}, status_code=404)
        if not (Path(loop.config.state) / "slots" / name).is_symlink():
            # Prometheus must not call a slot dead that was never meant to run.
            return Response(f"# slot {name} holds no release\n", media_type=TEXT)
        if is_idle(loop.status, name):
            return Response(f"# slot {name} is stopped, the other one has the traffic\n", media_type=TEXT)
        answer = await get(Target("/metrics", port=ports[name]), timeout=RELAY_SECONDS)
        if not answer.is_ok:
            return JSONResponse({"reason": f"slot {name}: {answer.says}"}, status_code=502)
        return Response(answer.body, media_type=TEXT)

    async def samples(_: Request) -> Response:
        try:
            found = await find_samples(loop)
        except DsopsError as error:
            return JSONResponse({"reason": str(error)}, status_code=503)
        return Response(found.to_json(), media_type="application/json")

    async def why(_: Request) -> Response:
        stories = await ask_history(lambda: loop.history.find_stories(1))
        if stories is None:
            return JSONResponse({"reason": "the history's disk does not answer"}, status_code=503)
        if not stories:
            return JSONResponse({"reason": "nothing has happened here that called for a decision"}, status_code=404)
        return JSONResponse(stories[0])

    async def history(request: Request) -> Response:
        limit = parse_limit(request.query_params.get("limit"))
        if limit is None:
            return JSONResponse({"reason": f"limit should be a number from 1 to {MOST}"}, status_code=400)
        entries = await ask_history(lambda: loop.history.find_entries(limit))
        if entries is None:
            return JSONResponse({"reason": "the history's disk does not answer"}, status_code=503)
        return JSONResponse({"entries": [asdict(entry) for entry in entries], "trouble": loop.history.trouble})

    return Starlette(
        routes=[
            Route("/v1/status", status),
            Route("/v1/checks", checks),
            Route("/v1/samples", samples),
            Route("/v1/why", why),
            Route("/v1/history", history),
            Route("/metrics", metrics),
            Route("/metrics/slots/{slot}", slot_metrics),
        ]
    )
