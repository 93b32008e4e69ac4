"""The balancer's shell: asks all nodes on a fixed beat, feeds the core, does what it says."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from dsops.core.errors import DsopsError
from dsops.node.balancer.config import BalancerConfig, NodeConfig
from dsops.node.balancer.links import Links
from dsops.node.balancer.state import Effect, Look, Observation, SetLink, judge, start, step
from dsops.node.sources.http import Answer, Target, get

log = logging.getLogger("dsops.balancer")
Ask = Callable[[Target, float], Awaitable[Answer]]


async def ask_fresh(target: Target, timeout: float) -> Answer:
    """A new connection each time: an old one may be served by a process that no longer listens."""
    return await get(target, timeout=timeout)


class Loop:
    """Holds the state. The HTTP side reads it and never asks a node."""

    def __init__(
        self,
        config: BalancerConfig,
        links: Links,
        *,
        ask: Ask = ask_fresh,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.clock = clock
        self.changes = 0
        self.unwritten: dict[str, str] = {}
        self._links = links
        self._ask = ask
        linked = links.read([node.name for node in config.nodes])
        self.state = start(linked, good_answers=config.good_answers, at=clock())
        for node, is_in in linked.items():
            # An out node gets its dangling link, whatever stood there: a stale socket, or nothing.
            self._point(SetLink(node, is_in))

    async def poll(self, node: NodeConfig) -> None:
        """Asks one node once and acts on it."""
        timeout = self.config.timeout_seconds
        answer = await self._ask(Target("/healthz", host=node.address, port=node.port), timeout)
        look, reason = judge(answer)
        now = self.state.nodes[node.name]
        if look is Look.REFUSED and (now.is_held or not now.is_in):
            look, reason = await self._ask_why(node) or (look, reason)
        self.observe(Observation(node.name, look, reason, answer.seconds, self.clock()))

    def observe(self, seen: Observation) -> None:
        """Feeds the core and does its effects."""
        self.state, effects = step(self.state, seen)
        for effect in effects:
            self._do(effect)

    async def run_polls(self, node: NodeConfig) -> None:
        """For ever, on a fixed beat: a slow answer shifts no later poll, it skips those it overlaps."""
        beat = asyncio.get_running_loop()
        begun = beat.time()
        while True:
            try:
                await self.poll(node)
            except Exception:
                log.exception("polling %s failed: a bug in dsops", node.name)
            self._retry_links()
            every = self.config.interval_seconds
            elapsed = beat.time() - begun
            await asyncio.sleep(every - elapsed % every)

    async def _ask_why(self, node: NodeConfig) -> tuple[Look, str] | None:
        # A drained gateway closes its traffic socket; its admin socket still says who drained it and why.
        # Asked only when the node is out already: taking it out waits for nothing.
        if not node.admin_port:
            return None
        target = Target("/healthz", host=node.address, port=node.admin_port)
        answer = await self._ask(target, self.config.interval_seconds)
        return judge(answer) if answer.status == 503 else None

    def _do(self, effect: Effect) -> None:
        if isinstance(effect, SetLink):
            self.changes += 1
            self._point(effect)
        else:
            log.info("%s", effect.line)

    def _point(self, effect: SetLink) -> None:
        try:
            self._links.point(effect.node, is_in=effect.is_in)
            self.unwritten.pop(effect.node, None)
        except DsopsError as error:
            if effect.node not in self.unwritten:
                log.error("%s; %s", error, error.mend)
            self.unwritten[effect.node] = str(error)

    def _retry_links(self) -> None:
        for name in list(self.unwritten):
            self._point(SetLink(name, self.state.nodes[name].is_in))
