"""Reads what a slot's Triton says on loopback, and judges the slot's phase from that and its systemd unit."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dsops.core.progress import Progress
from dsops.core.status import Phase, Slot
from dsops.node.sources.gateway import SlotTraffic
from dsops.node.sources.http import Answer, Failure, Target, get
from dsops.node.sources.metrics import parse_sums
from dsops.node.sources.units import Unit


@dataclass(frozen=True)
class Ports:
    """Where a slot listens, on loopback only."""

    name: str
    http: int
    metrics: int

    @property
    def unit(self) -> str:
        return f"triton@{self.name}.service"


@dataclass(frozen=True)
class SlotAnswers:
    """What the slot's three addresses said in one tick."""

    live: Answer
    ready: Answer
    metrics: Answer


async def read_slot(ports: Ports, *, timeout: float) -> SlotAnswers:
    """All three at once on fresh connections: keep-alive would pin us to one of Triton's HTTP threads."""
    live, ready, metrics = await asyncio.gather(
        get(Target("/v2/health/live", port=ports.http), timeout=timeout),
        get(Target("/v2/health/ready", port=ports.http), timeout=timeout),
        get(Target("/metrics", port=ports.metrics), timeout=timeout),
    )
    return SlotAnswers(live, ready, metrics)


def read_slot_release(state: Path, slot: str) -> str:
    """The release id that slots/<slot> points at, "" when it points at none."""
    try:
        return (state / "slots" / slot).readlink().name
    except OSError:
        return ""


def read_lane_slot(state: Path, lane: str) -> str:
    """The slot that lanes/<lane> points at, "" when it points at none."""
    try:
        return (state / "lanes" / lane).readlink().name
    except OSError:
        return ""


def judge_slot(name: str, *, release: str, unit: Unit, answers: SlotAnswers) -> Slot:
    """Pure. Ready is a phase, never health: engines hang while ready (research/health.md section 1)."""
    phase, reason = judge_phase(unit, answers.live, answers.ready)
    page = read_page(answers.metrics)
    return Slot(
        name=name,
        release=release,
        unit=unit.active,
        phase=phase,
        reason=reason,
        generated_tokens=page.get("dsops_engine_generated_tokens_total"),
        running=page.get("dsops_engine_running"),
        waiting=page.get("dsops_engine_waiting"),
    )


def read_page(metrics: Answer) -> Mapping[str, float]:
    """The numbers of a metrics page; none when it did not come."""
    return parse_sums(metrics.body.decode(errors="replace")) if metrics.is_ok else {}


def find_progress(answers: SlotAnswers, traffic: SlotTraffic, *, at: float) -> Progress:
    """What tells whether a slot's engine moves. at: monotonic seconds."""
    page = read_page(answers.metrics)
    return Progress(
        at=at,
        generated=page.get("dsops_engine_generated_tokens_total"),
        prefilled=page.get("dsops_engine_prefilled_tokens_total"),
        iterations=page.get("dsops_engine_iterations_total"),
        running=page.get("dsops_engine_running"),
        waiting=page.get("dsops_engine_waiting"),
        relayed=traffic.tokens,
        in_flight=traffic.in_flight,
        answers=any(one.status for one in (answers.live, answers.ready, answers.metrics)),
    )


def judge_phase(unit: Unit, live: Answer, ready: Answer) -> tuple[Phase, str]:
    """The slot's phase and, where it is not serving, why."""
    if unit.active in ("inactive", "failed", "missing", "deactivating"):
        return Phase.STOPPED, unit.says
    if ready.is_ok:
        return Phase.SERVING, ""
    if live.is_ok or ready.status:
        return Phase.LOADING, "Triton is up, the model is not ready yet"
    if ready.failure is Failure.REFUSED and unit.active != "unknown":
        return Phase.LOADING, f"{unit.name} runs, its port does not answer yet"
    return (
        Phase.UNKNOWN,
        f"Triton: {ready.says}" if unit.active != "unknown" else f"Triton: {ready.says}; {unit.says}",
    )
