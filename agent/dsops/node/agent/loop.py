"""The agent's loop: read, judge, publish, once a tick; the GPUs on their own, slower beat."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dsops.core.status import Blame, Condition, Finding, NodeStatus, Verdict, worst
from dsops.node.agent.config import AgentConfig
from dsops.node.agent.judge import judge, keep_since
from dsops.node.agent.rates import Rates
from dsops.node.agent.snapshot import Snapshot
from dsops.node.run import Run, run
from dsops.node.sources.gateway import read_gateway
from dsops.node.sources.gpu_child import GpuChild
from dsops.node.sources.gpus import Reading, Sweep
from dsops.node.sources.host import read_host
from dsops.node.sources.http import Answer
from dsops.node.sources.slots import SlotAnswers, read_lane_slot, read_slot, read_slot_release
from dsops.node.sources.units import Unit, read_units

log = logging.getLogger("dsops.agent")


@dataclass(frozen=True)
class Clock:
    """Both clocks as values, so that a test sets them."""

    wall: Callable[[], float] = time.time
    ticks: Callable[[], float] = time.monotonic


class Loop:
    """Holds the last status. Whoever serves it reads `status`, never a source."""

    def __init__(
        self, config: AgentConfig, *, run: Run = run, gpus: GpuChild | None = None, clock: Clock | None = None
    ) -> None:
        self.config = config
        self.status: NodeStatus | None = None
        self.gpus = first_reading(config.gpus.expected)
        self._run = run
        self._clock = clock or Clock()
        self._child = gpus or GpuChild(deadline=config.gpus.deadline_seconds)
        self._rates = Rates()

    async def tick(self) -> None:
        """One whole tick."""
        snapshot = await self._read()
        before = self.status
        self.status, self._rates = judge(self.config, snapshot, self._rates, before)
        log_change(before, self.status)

    async def sweep(self) -> None:
        """One reading of the GPUs, at most as long as its deadline."""
        self.gpus = await self._child.read()

    async def run_ticks(self, *, after: Callable[[], None] = lambda: None) -> None:
        """For ever. `after` runs after whole ticks only: it feeds the watchdog."""
        while True:
            start = self._clock.ticks()
            try:
                await self.tick()
                after()
            except Exception:
                log.exception("a tick failed: a bug in dsops")
                self._mark_blind()
            await asyncio.sleep(max(0.05, self.config.tick_seconds - (self._clock.ticks() - start)))

    async def run_sweeps(self) -> None:
        """For ever; idle where the configuration promises no GPU."""
        while True:
            if self.config.gpus.expected != 0:
                await self.sweep()
            await asyncio.sleep(self.config.gpus.every_seconds)

    async def close(self) -> None:
        await self._child.close()

    async def _read(self) -> Snapshot:
        names = [*self.config.units, *(p.unit for p in self.config.slots)]
        units, answers, gateway = await asyncio.gather(
            asyncio.to_thread(self._read_units, names),
            asyncio.gather(*(read_slot(p, timeout=self.config.answer_seconds) for p in self.config.slots)),
            self._read_gateway(),
        )
        slots = {p.name: a for p, a in zip(self.config.slots, answers, strict=True)}
        return self._combine(units, slots, gateway)

    def _combine(self, units: dict[str, Unit], slots: dict[str, SlotAnswers], gateway: Answer | None) -> Snapshot:
        state = Path(self.config.state)
        return Snapshot(
            at=self._clock.wall(),
            ticks=self._clock.ticks(),
            host=read_host(Path(self.config.root)),
            units=units,
            slots=slots,
            slot_releases={p.name: read_slot_release(state, p.name) for p in self.config.slots},
            stable_slot=read_lane_slot(state, self.config.lane) if self.config.slots else "",
            gateway=gateway,
            gpus=self.gpus,
        )

    def _read_units(self, names: list[str]) -> dict[str, Unit]:
        return dict(read_units(names, run=self._run))

    async def _read_gateway(self) -> Answer | None:
        if not self.config.gateway:
            return None
        return await read_gateway(Path(self.config.gateway.socket), timeout=self.config.answer_seconds)

    def _mark_blind(self) -> None:
        if self.status is None:
            return
        said, mend = "the agent's own tick failed", f"`dsops logs {self.config.node} --unit dsops-agent`"
        finding = Finding("agent", "agent.tick", Verdict.UNKNOWN, Blame.DSOPS, Condition.BLIND, said, mend)
        findings = (*(f for f in self.status.findings if f.code != finding.code), finding)
        condition, reason = worst(findings)
        changed = replace(
            self.status,
            findings=findings,
            condition=condition,
            condition_reason=reason,
            since=self._clock.wall(),
        )
        self.status = keep_since(changed, self.status)


def first_reading(expected: int | None) -> Reading:
    """What is known before the first sweep."""
    if expected == 0:
        return Reading(Sweep.ABSENT, reason="this server has no GPUs, says its configuration")
    return Reading(Sweep.PENDING, reason="the first GPU sweep is under way")


def log_change(before: NodeStatus | None, now: NodeStatus) -> None:
    """One line when a word changed."""
    if before and before.since == now.since:
        return
    why = f": {now.condition_reason or now.phase_reason}" if now.condition_reason or now.phase_reason else ""
    log.info("release %s, phase %s, condition %s%s", now.release or "none", now.phase, now.condition, why)
