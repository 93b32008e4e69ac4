"""Does what the watch wants, each thing in a task of its own with a deadline; tells how it ended, whatever happens."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.looks import Witness
from dsops.core.passport import Hardware
from dsops.core.state import Move
from dsops.core.status import Proof
from dsops.node.agent.events import (
    WHO,
    Admit,
    AskPeers,
    Call,
    Effect,
    Eject,
    Event,
    HelperTold,
    Inspect,
    Inspected,
    LookNow,
    Now,
    PeersTold,
    Probe,
    Probed,
    ProbeLost,
    ProofLost,
    Prove,
    Proved,
    StopProving,
    TrafficTold,
)
from dsops.node.agent.prove import Proving, Refusal, prove
from dsops.node.sources.cache import find_cached, list_files
from dsops.node.sources.gateway import admit, eject
from dsops.node.sources.golden import read_golden
from dsops.node.sources.passports import find_demand
from dsops.node.sources.peers import PeerAddress, read_peers
from dsops.node.sources.probe import ask_gateway, ask_slot
from dsops.node.sources.slots import Ports
from dsops.node.sources.units import Unit

log = logging.getLogger("dsops.agent")
GATEWAY_SECONDS = 1.0
# systemd needs a moment to notice that a process ended; then it waits 2 s before it starts another.
INSPECT_SECONDS = 1.5
INSPECT_PAUSE = 0.05
BUG_SECONDS = 5.0
HELPER_SECONDS = {"restart": 150.0, "rollback": 90.0, "recover": 150.0, "proven": 60.0, "refuted": 90.0, "age": 90.0}
Ask = Callable[..., Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Tools:
    """What the actor reaches. read_unit: blocking. hardware: this server's now, for a proof; None when nobody knows."""

    state: Path
    ports: Mapping[str, Ports]
    read_unit: Callable[[str], Unit]
    ask_helper: Ask
    now: Callable[[], Now]
    gateway: Path | None = None
    peers: tuple[PeerAddress, ...] = ()
    answer_seconds: float = 0.8
    hardware: Callable[[], Hardware | None] = lambda: None
    look_now: Callable[[], None] = lambda: None


class Actor:
    """`tell` gets one event for each effect that asks for one."""

    def __init__(self, tools: Tools, tell: Callable[[Event], None]) -> None:
        self._tools = tools
        self._tell = tell
        self._tasks: set[asyncio.Task[None]] = set()
        self._proving: asyncio.Task[None] | None = None

    def perform(self, effect: Effect) -> None:
        """Begins it; never waits."""
        if isinstance(effect, LookNow):
            self._tools.look_now()
            return
        if isinstance(effect, Prove | StopProving) and self._proving:
            self._proving.cancel()
            self._proving = None
        if isinstance(effect, StopProving):
            return
        task = asyncio.create_task(self._do(effect))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if isinstance(effect, Prove):
            self._proving = task

    async def close(self) -> None:
        """Ends what is under way; what the helper does it does to its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _do(self, effect: Effect) -> None:
        try:
            event = await self._perform(effect)
        except Exception as error:
            log.exception("%s failed: a bug in dsops", type(effect).__name__)
            event = await self._excuse(effect, f"a bug in dsops: {error}")
        if event:
            self._tell(event)

    async def _perform(self, effect: Effect) -> Event | None:
        match effect:
            case Probe():
                return await self._probe(effect)
            case Eject() | Admit():
                return await self._tell_gateway(effect)
            case AskPeers():
                tools = self._tools
                peers = await read_peers(tools.peers, timeout=tools.answer_seconds)
                return PeersTold(tools.now(), peers, len(tools.peers))
            case Inspect():
                return await self._inspect(effect)
            case Prove():
                return Proved(self._tools.now(), effect.move, await self._prove(effect.move))
            case Call():
                return await self._ask_helper(effect)
        return None

    async def _excuse(self, effect: Effect, says: str) -> Event | None:
        """What is told of an effect whose own code failed: never anything BAD about the release."""
        now = self._tools.now()
        match effect:
            case Probe():
                return ProbeLost(now, effect)
            case Eject() | Admit():
                return TrafficTold(now, effect, says)
            case AskPeers():
                return PeersTold(now, (), len(self._tools.peers))
            case Inspect():
                return Inspected(now, effect, None)
            case Prove():
                await asyncio.sleep(BUG_SECONDS)
                return ProofLost(self._tools.now(), effect.move)
            case Call():
                return HelperTold(now, effect, says)
        return None

    async def _probe(self, probe: Probe) -> Event:
        bounds, prompt, tools = probe.golden.probe, probe.prompt, self._tools
        # No more than what the answer takes: then it ends by itself, and all of it is compared.
        tokens, timeout = min(bounds.tokens, prompt.tokens), float(bounds.answer_seconds)
        if probe.witness is Witness.GATEWAY:
            assert tools.gateway
            model, slot = probe.golden.model, probe.slot if probe.pinned else ""
            heard = await ask_gateway(
                tools.gateway, prompt.prompt, model=model, tokens=tokens, timeout=timeout, slot=slot
            )
        else:
            heard = await ask_slot(tools.ports[probe.slot].http, prompt.prompt, tokens=tokens, timeout=timeout)
        return Probed(tools.now(), probe, heard)

    async def _tell_gateway(self, effect: Eject | Admit) -> Event:
        socket = self._tools.gateway
        assert socket
        if isinstance(effect, Eject):
            answer = await eject(socket, reason=effect.reason, who=WHO, timeout=GATEWAY_SECONDS)
        else:
            answer = await admit(socket, who=WHO, timeout=GATEWAY_SECONDS)
        return TrafficTold(self._tools.now(), effect, "" if answer.is_ok else answer.says)

    async def _inspect(self, ask: Inspect) -> Event:
        """Until systemd has noticed; its words for the end are there for two seconds only."""
        end = self._tools.now().ticks + INSPECT_SECONDS
        unit: Unit | None = None
        while unit is None or (unit.pid == ask.pid and self._tools.now().ticks < end):
            unit = await asyncio.to_thread(self._tools.read_unit, ask.slot)
            await asyncio.sleep(INSPECT_PAUSE if unit.pid == ask.pid else 0)
        return Inspected(self._tools.now(), ask, None if unit.active == "unknown" else unit)

    async def _prove(self, move: Move) -> Proof | Refusal:
        tools, folder = self._tools, self._tools.state / "releases" / move.release
        hardware = tools.hardware()
        try:
            golden = await asyncio.to_thread(read_golden, folder)
        except DsopsError as error:
            return Refusal(str(error))
        passport = await asyncio.to_thread(find_demand, tools.state, move, hardware)
        return await prove(
            Proving(
                ports=tools.ports[move.slot],
                golden=golden,
                find_unit=lambda: tools.read_unit(move.slot),
                gateway=tools.gateway,
                gpus=hardware.gpus if hardware else (),
                passport=passport,
                find_cached=lambda: find_cached(list_files(folder)),
            )
        )

    async def _ask_helper(self, call: Call) -> Event:
        began, limit = self._tools.now().ticks, HELPER_SECONDS.get(call.verb, 60.0)
        try:
            async with asyncio.timeout(limit + 5.0):
                said = await self._tools.ask_helper(call.verb, timeout=limit, **dict(call.words))
        except (DsopsError, TimeoutError) as error:
            return HelperTold(self._tools.now(), call, str(error) or f"no answer in {limit:g} s")
        now = self._tools.now()
        return HelperTold(now, call, seconds=now.ticks - began, said=said)
