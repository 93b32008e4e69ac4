"""Reads what a slot's Triton says on loopback, and judges the slot's phase from that and its systemd unit."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from dsops.core.status import Phase, Slot
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
    page = parse_sums(answers.metrics.body.decode(errors="replace")) if answers.metrics.is_ok else {}
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
