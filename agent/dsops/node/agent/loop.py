"""The agent's loop: read, judge, publish, once a tick; the GPUs on a slower beat; deaths and answers at once."""

import asyncio
import logging
import time
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dsops.core.baseline import Baseline
from dsops.core.breaker import Breaker
from dsops.core.checks import hold
from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.maintenance import Maintenance
from dsops.core.passport import Hardware
from dsops.core.state import Policy
from dsops.core.status import Blame, Condition, Finding, NodeStatus, Proof, Verdict, worst
from dsops.node.agent.actor import Actor, Ask, Tools
from dsops.node.agent.config import AgentConfig
from dsops.node.agent.events import WHO, Alarmed, Died, Event, Now, Ticked, TrafficTold
from dsops.node.agent.history import Entry, History
from dsops.node.agent.hosting import Hosting
from dsops.node.agent.incident import Incident
from dsops.node.agent.judge import judge, judge_slots, keep_since
from dsops.node.agent.rates import Rates
from dsops.node.agent.serving import Serving
from dsops.node.agent.settings import Settings
from dsops.node.agent.situation import Surroundings
from dsops.node.agent.snapshot import Snapshot, find_seen
from dsops.node.agent.view import NOTHING, View, find_findings
from dsops.node.agent.watch import Restarts, Watch
from dsops.node.checks.check import Scene
from dsops.node.checks.checkup import Checkup
from dsops.node.checks.rules import get_shipped
from dsops.node.run import Done, Run, run
from dsops.node.sources.files import Files, FilesReader
from dsops.node.sources.gateway import judge_gateway, read_gateway
from dsops.node.sources.gpu_child import GpuChild
from dsops.node.sources.gpu_counters import GpuCounters
from dsops.node.sources.gpus import Reading, Sweep
from dsops.node.sources.hardware import find_hardware
from dsops.node.sources.host import read_host
from dsops.node.sources.http import Answer
from dsops.node.sources.patience import Patient
from dsops.node.sources.processes import Processes
from dsops.node.sources.slots import SlotAnswers, read_slot
from dsops.node.sources.store import StoreReading
from dsops.node.sources.units import Unit, read_units
from dsops.node.store.journal import Record

log = logging.getLogger("dsops.agent")
# What the history keeps of the checks.
CHECKS = "checks"
# And of the store's journal: the number of the last record by which a person cleared this node.
CLEARED = "cleared"
# Findings that are made of others: they say nothing new to whoever decides.
OWN = ("release.", "slot.", "node.", "agent.", "canary.")
KERNEL_SECONDS = 0.2
UNITS_SECONDS = 3.0
FILES_SECONDS = 1.0


@dataclass(frozen=True)
class Clock:
    """Both clocks as values, so that a test sets them."""

    wall: Callable[[], float] = time.time
    ticks: Callable[[], float] = time.monotonic

    @property
    def now(self) -> Now:
        return Now(self.ticks(), self.wall())


def run_soon(argv: Sequence[str]) -> Done:
    """A program that is done before the next ticks want to know."""
    return run(argv, timeout=UNITS_SECONDS)


async def refuse(verb: str, **_: object) -> dict[str, object]:
    """Stands in for the helper where there is none."""
    raise DsopsError(f"this server has no helper to ask for {verb}")


class Loop:
    """Holds the last status. Whoever serves it reads `status`, never a source."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        run: Run = run_soon,
        gpus: GpuChild | None = None,
        clock: Clock | None = None,
        policy: Policy | None = None,
        ask_helper: Ask = refuse,
        history: History | None = None,
        checkup: Checkup | None = None,
    ) -> None:
        self.config = config
        self.status: NodeStatus | None = None
        self.gpus = first_reading(config.gpus.expected)
        self.history = history or History(None)
        self.rollbacks = {"true": 0, "false": 0}
        self.last_rollback: float | None = None
        self.baseline: Baseline | None = None
        self.maintenance: Maintenance | None = None
        self._run = run
        self._clock = clock or Clock()
        self._child = gpus or GpuChild(deadline=config.gpus.deadline_seconds)
        self._rates = Rates()
        self._units: Patient[dict[str, Unit]] = Patient("systemd", seconds=UNITS_SECONDS)
        self._files: Patient[Files] = Patient("the disk", seconds=FILES_SECONDS)
        self._reader = FilesReader(
            root=Path(config.root),
            state=Path(config.state),
            slots=tuple(ports.name for ports in config.slots),
            lane=config.lane,
        )
        self._hosting = Hosting(config, ticks=self._clock.ticks, wall=self._clock.wall)
        self._serving = Serving(config, ticks=self._clock.ticks)
        self._wake = asyncio.Event()
        self._seq: int | None = None
        self._bug = ""
        self._kept: dict[str, object] = {}
        self._cleared: int | None = None
        self.checkup = checkup or Checkup(get_shipped())
        self.gpu_counters = GpuCounters()
        self._swept = 0.0
        self.processes = Processes(self._died)
        self.watch = self._make_watch(policy or Policy()) if config.slots else None
        self._actor = Actor(self._make_tools(ask_helper), self.take)
        self._begin_checks()

    # --- the beat -----------------------------------------------------------------------------------------------

    async def tick(self) -> None:
        """One whole tick."""
        snapshot = await self._read()
        if self.watch:
            # Before anything is judged: what a person cleared must not be found once more with this tick.
            self._keep_records(snapshot.store)
        snapshot = self._check(snapshot)
        self._bug = ""
        view = self._watch_over(snapshot)
        before = self.status
        self.status, self._rates = judge(self.config, snapshot, self._rates, before, view)
        if self._bug:
            self._mark_blind(self._bug)
        log_change(before, self.status)

    async def sweep(self) -> None:
        """One reading of the GPUs, at most as long as its deadline."""
        self.gpus = await self._child.read()
        self._swept = self._clock.ticks()
        self.gpu_counters = self.gpu_counters.add(self.gpus, at=self._swept)

    async def run_ticks(self, *, after: Callable[[], None] = lambda: None) -> None:
        """For ever. `after` runs after whole ticks only: it feeds the watchdog."""
        while True:
            start = self._clock.ticks()
            self._wake.clear()
            try:
                await self.tick()
                after()
            except Exception:
                log.exception("a tick failed: a bug in dsops")
                self._mark_blind("the agent's own tick failed")
            await self._pause(self.config.tick_seconds - (self._clock.ticks() - start))

    async def _pause(self, seconds: float) -> None:
        """Until the next tick is due, or somebody wants one now; never without a breath between."""
        await asyncio.sleep(0.05)
        try:
            async with asyncio.timeout(max(0.0, seconds - 0.05)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def run_sweeps(self) -> None:
        """For ever; idle where the configuration promises no GPU."""
        while True:
            if self.config.gpus.expected != 0:
                await self.sweep()
            await asyncio.sleep(self.config.gpus.every_seconds)

    async def run_kernel(self) -> None:
        """For ever: the kernel's lines are judged when they come, not at the next tick."""
        kernel = self.checkup.log
        if kernel is None:
            await asyncio.Event().wait()
        while kernel:
            if self.checkup.read_kernel(now=self._clock.ticks(), wall=self._clock.wall()):
                self.take(Alarmed(self._clock.now, self._find_findings(self._check_again())))
                self._wake.set()
            await kernel.wait(KERNEL_SECONDS)

    async def close(self) -> None:
        self.processes.close()
        await self._actor.close()
        await self._child.close()
        self._units.close()
        self._files.close()
        self._hosting.close()
        await asyncio.to_thread(self.history.close)

    # --- reading ------------------------------------------------------------------------------------------------

    async def _read(self) -> Snapshot:
        names = [*self.config.units, *(p.unit for p in self.config.slots)]
        units, files, answers, gateway, *_ = await asyncio.gather(
            self._units.read(lambda: self._read_units(names), otherwise=lambda said: find_unknown(names, said)),
            self._files.read(self._reader.read, otherwise=self._reader.otherwise),
            asyncio.gather(*(read_slot(p, timeout=self.config.answer_seconds) for p in self.config.slots)),
            self._read_gateway(),
            self._hosting.read(),
            self._serving.read(),
        )
        slots = {p.name: a for p, a in zip(self.config.slots, answers, strict=True)}
        return self._combine(units, slots, gateway, files)

    def _combine(
        self, units: dict[str, Unit], slots: dict[str, SlotAnswers], gateway: Answer | None, files: Files
    ) -> Snapshot:
        papers, at = files.papers, self._clock.wall()
        return Snapshot(
            at=at,
            ticks=self._clock.ticks(),
            host=files.host,
            units=units,
            slots=slots,
            slot_releases=files.slot_releases,
            stable_slot=files.stable_slot,
            gateway=gateway,
            gpus=self.gpus,
            store=files.store,
            golden=files.golden,
            golden_reason=files.golden_reason,
            goldens=files.goldens,
            disk_reason=files.reason,
            audit=files.audit,
            damage=files.damage,
            baseline=papers.baseline,
            maintenance=papers.maintenance if papers.maintenance and papers.maintenance.holds(at) else None,
            papers_reason=papers.reason,
            passports=files.passports,
        )

    def _read_units(self, names: list[str]) -> dict[str, Unit]:
        return dict(read_units(names, run=self._run))

    async def _read_gateway(self) -> Answer | None:
        if not self.config.gateway:
            return None
        return await read_gateway(Path(self.config.gateway.socket), timeout=self.config.answer_seconds)

    # --- the checks ---------------------------------------------------------------------------------------------

    def _begin_checks(self) -> None:
        """What was found in this boot still holds, whatever became of the agent."""
        self._hosting.begin(self.history)
        kept = self.history.find_kept(CHECKS) if self.history.path else None
        self.checkup.take_kept(kept, boot=read_host(Path(self.config.root)).boot_id)
        cleared = self.history.find_kept(CLEARED) if self.history.path else None
        self._cleared = cleared if type(cleared) is int else None

    def _check(self, snapshot: Snapshot) -> Snapshot:
        """With what the checks find in it."""
        self.baseline, self.maintenance = snapshot.baseline, snapshot.maintenance
        slots = judge_slots(self.config, snapshot)
        host = self._hosting.see(snapshot.units, ticks=snapshot.ticks)
        self.checkup.look(
            Scene(
                at=snapshot.at,
                ticks=snapshot.ticks,
                boot=snapshot.host.boot_id,
                gpus=snapshot.gpus,
                gpus_sample=f"{self._swept:.3f}",
                expected_gpus=self.config.gpus.expected,
                gpu_counters=self.gpu_counters,
                slots=slots,
                limits=self.checkup.rules.limits,
                host=host,
                serving=self._serving.see(slots, snapshot, machine=host.machine, hardware=self._find_hardware),
                baseline=snapshot.baseline.values if snapshot.baseline else {},
            )
        )
        return replace(snapshot, checked=self._check_again())

    def _check_again(self) -> tuple[Finding, ...]:
        grounds = self.watch.grounds.describe(self.config.node) if self.watch else ()
        return (*self.checkup.find(now=self._clock.ticks(), wall=self._clock.wall()), *grounds)

    def _find_findings(self, checked: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """What the watch is told: of all checks, as of the last tick; those of the ledger as of now."""
        before = self.status.findings if self.status else ()
        return hold(find_told(before, checked, codes=self.checkup.rules.rules), self.maintenance)

    # --- the watch ----------------------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Tells the watch, and begins what it wants."""
        if self.watch is None:
            return
        self._serving.take(event)
        try:
            effects = self.watch.take(event)
        except Exception:
            log.exception("the watch failed on %s: a bug in dsops", type(event).__name__)
            self._bug = "the agent's own judgement failed"
            return
        if isinstance(event, TrafficTold):
            self._wake.set()  # the peers ask who serves: what they hear must not be a second old
        self._keep_changes(self.watch)
        for effect in effects:
            self._serving.begin(effect)
            self._actor.perform(effect)

    def _watch_over(self, snapshot: Snapshot) -> View:
        if self.watch is None:
            return NOTHING
        for ports in self.config.slots:
            if snapshot.units[ports.unit].active != "unknown":
                self.processes.follow(ports.name, snapshot.units[ports.unit].pid)
        gateway = judge_gateway(snapshot.gateway) if snapshot.gateway else None
        seen = replace(find_seen(snapshot, gateway), findings=self._find_findings(snapshot.checked))
        self.take(Ticked(self._clock.now, seen))
        return self._find_view(snapshot, ejected=gateway.ejected.reason if gateway and gateway.ejected else None)

    def _find_view(self, snapshot: Snapshot, *, ejected: str | None) -> View:
        watch = self.watch
        assert watch
        state = snapshot.store.state
        left = watch.settings.policy.bake_seconds - watch.driver.find_age(watch.now)
        return View(
            verdict=watch.verdict,
            strikes=watch.eyes.strike_count,
            failing_since=watch.incident.began if watch.incident else None,
            baking_until=snapshot.at + max(0.0, left),
            proof=watch.driver.proof,
            canary=watch.canary.describe(),
            findings=find_findings(
                node=self.config.node,
                slot=snapshot.stable_slot,
                strikes=watch.strikes,
                verdict=watch.verdict,
                ruling=watch.ruling,
                ejected=ejected if not watch.traffic.is_drained else None,
                halted=state.halted if state else "",
                next_step=watch.incident.next_step if watch.incident else "",
                canary=watch.canary.describe(),
            ),
        )

    def _died(self, slot: str, pid: int) -> None:
        log.warning("slot %s: its process %d ended", slot, pid)
        self.take(Died(self._clock.now, slot, pid))
        self._wake.set()

    def _make_watch(self, policy: Policy) -> Watch:
        config = self.config
        settings = Settings(
            config.node,
            policy,
            config.probe.pace,
            hold_seconds=config.hold_seconds,
            has_peers=bool(config.peers),
            canary_pause=config.canary_pause_seconds,
            keep_serving=config.keep_serving,
        )
        watch = Watch(
            settings,
            now=self._clock.now,
            restarts=_find(self.history, "restarts", Restarts) or Restarts(),
            surroundings=_find(self.history, "surroundings", Surroundings),
            breaker=_find(self.history, "breaker", Breaker),
            record=self._record,
            note=self._note,
        )
        watch.driver.proof = _find(self.history, "proof", Proof)
        return watch

    def _make_tools(self, ask_helper: Ask) -> Tools:
        config = self.config
        ports = {one.name: one for one in config.slots}
        return Tools(
            state=Path(config.state),
            ports=ports,
            read_unit=lambda slot: self._read_units([ports[slot].unit])[ports[slot].unit],
            ask_helper=ask_helper,
            now=lambda: self._clock.now,
            gateway=Path(config.gateway.socket) if config.gateway else None,
            peers=config.peers,
            answer_seconds=config.answer_seconds,
            hardware=self._find_hardware,
            look_now=self._wake.set,
        )

    def _find_hardware(self) -> Hardware | None:
        """As the last sweep saw it; a server that is promised no GPU is not asked for any."""
        reading = Reading(Sweep.ABSENT) if self.config.gpus.expected == 0 else self.gpus
        return find_hardware(reading)

    # --- what is kept -------------------------------------------------------------------------------------------

    def _record(self, incident: Incident) -> None:
        self.history.tell(incident.to_decision())

    def _note(self, at: float, kind: str, release: str, says: str) -> None:
        log.info("%s: %s", kind, says)
        self.history.add(Entry(at, kind, release, says, WHO))

    def _keep_changes(self, watch: Watch) -> None:
        """What the next life of the agent must know."""
        kept = (
            ("restarts", watch.restarts),
            ("proof", watch.driver.proof),
            ("surroundings", watch.surroundings),
            ("breaker", watch.grounds.breaker),
        )
        for key, value in kept:
            if value is not None and value != self._kept.get(key):
                self.history.keep(key, value)
                self._kept[key] = value
        if self._kept.get(CHECKS) != self.checkup.ledger.changes:
            self._kept[CHECKS] = self.checkup.ledger.changes
            self.history.keep(CHECKS, self.checkup.keep())

    def _keep_records(self, store: StoreReading) -> None:
        """The journal's new transitions, and what they mean for the counters."""
        if store.seq == self._seq or not store.records:
            return
        for sentence in store.spoiled:
            log.error("the store's journal is damaged: %s", sentence)
        known = self._seq
        self._seq = store.seq
        self.history.add_records(store.records)
        rollbacks = [record for record in store.records if record.event == "rollback"]
        self.last_rollback = rollbacks[-1].at if rollbacks else self.last_rollback
        for record in rollbacks:
            if known is not None and record.seq > known:
                self.rollbacks["true" if record.who in (WHO, "dsops") else "false"] += 1
        self._take_clear(store.records)

    def _take_clear(self, records: Sequence[Record]) -> None:
        """A person looked at it all, perhaps while no agent ran: what the checks hold against this server is over."""
        clears = {record.seq: record.at for record in records if record.event == "clear"}
        last = max(clears, default=0)
        known, self._cleared = self._cleared, last
        if last == known:
            return
        self.history.keep(CLEARED, last)
        if known is not None and last > known and self.watch:
            log.info("cleared by a person: the checks begin afresh, and the breaker is reset")
            self.checkup.clear(until=clears[last])
            self.watch.grounds.reset()

    def _mark_blind(self, said: str) -> None:
        if self.status is None:
            return
        mend = f"`dsops logs {self.config.node} --unit dsops-agent`"
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


def find_told(before: Iterable[Finding], checked: Iterable[Finding], *, codes: Container[str]) -> tuple[Finding, ...]:
    """before: all findings of the last tick. checked: of the checks, as of now; codes: that they may say."""
    others = [one for one in before if one.code not in codes]
    return tuple(one for one in (*others, *checked) if not one.code.startswith(OWN))


def find_unknown(names: list[str], said: str) -> dict[str, Unit]:
    """What is known of units while systemd does not answer."""
    return {name: Unit(name, "unknown", reason=said) for name in names}


def _find(history: History, key: str, kind: type) -> Any:
    """What an earlier life kept; nothing when it cannot be read."""
    try:
        data = history.find_kept(key)
        return decode(kind, data, where=key) if data else None
    except (DsopsError, ValueError):
        return None


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
