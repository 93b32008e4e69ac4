"""The agent's /metrics, made from the last status at each scrape: a GPU that went leaves no series."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from dsops.core.checks import ORDER
from dsops.core.status import Blame, Condition, Gpu, NodeStatus, Phase, ReleaseState, Verdict
from dsops.node.sources.gpu_counters import THROTTLES, GpuCounters, name_of
from dsops.node.sources.gpus import Reading, Sweep

WITNESSES = ("slot", "gateway")
TEN_MINUTES = 600.0
GPU_LABELS = ["gpu", "uuid", "name"]
# name, text, key of the sweep
GPU_NUMBERS = (
    ("dsops_gpu_ecc_corrected_errors", "Corrected memory errors since its last reset", "ecc_corrected"),
    ("dsops_gpu_ecc_uncorrected_errors", "Uncorrected memory errors since its last reset", "ecc_uncorrected"),
    ("dsops_gpu_remap_pending", "1 while a memory row waits for a reset to be remapped", "remap_pending"),
    ("dsops_gpu_remap_failed", "1 when no spare row is left", "remap_failed"),
    ("dsops_gpu_remapped_rows", "Memory rows remapped for uncorrected errors", "remapped_uncorrected"),
    ("dsops_gpu_recovery_action", "What the driver asks for; 0: nothing", "recovery_action"),
    ("dsops_gpu_nvlinks_active", "NVLinks that are up", "nvlinks_active"),
    ("dsops_gpu_pcie_replays", "Packets that PCIe sent again since the driver was loaded", "pcie_replays"),
)
MOST_FINDINGS, MOST_LETTERS = 200, 80


@dataclass(frozen=True)
class Acts:
    """What the watch has counted since the agent's start. probes: (witness, verdict) -> how many.

    rollbacks: own -> how many. last_rollback_at: Unix seconds, whoever asked for it. blame: of the decision that holds.
    """

    probes: Mapping[tuple[str, str], int] = field(default_factory=dict)
    rollbacks: Mapping[str, int] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    last_rollback_at: float | None = None
    peers_failing: int = 0
    blame: Blame | None = None
    history_trouble: bool = False


def render_acts(status: NodeStatus, acts: Acts) -> Iterator[Metric]:
    """What a server with slots shows beside its state."""
    probes = {(who, verdict.value): 0 for who in WITNESSES for verdict in Verdict} | dict(acts.probes)
    rows = [({"witness": who, "verdict": verdict}, count) for (who, verdict), count in probes.items()]
    yield _counter("dsops_probe", "Golden prompts asked, and what came of them", rows)
    bad = sum(count for (_, verdict), count in probes.items() if verdict == Verdict.BAD)
    yield _counter("dsops_probe_bad", "Golden prompts that were answered wrong or not at all", [({}, bad)])
    rollbacks = {"true": 0, "false": 0} | dict(acts.rollbacks)
    yield _counter(
        "dsops_rollbacks", "Rollbacks, own: by dsops itself", [({"own": k}, v) for k, v in rollbacks.items()]
    )
    rows = [({"unit": unit}, count) for unit, count in ({"slot": 0, "gateway": 0} | dict(acts.restarts)).items()]
    yield _counter("dsops_restarts", "Restarts by dsops itself", rows)
    yield _one("dsops_last_rollback_timestamp_seconds", "When the last rollback began", acts.last_rollback_at)
    yield _one("dsops_ejected", "1 while traffic is kept away since the node fails", float(status.ejected is not None))
    yield _one("dsops_halted", "1 while dsops does nothing by itself", float(bool(status.halted)))
    yield _one("dsops_strikes", "What speaks against the active release now", status.strikes)
    canary = status.canary
    share = [({"release": canary.release}, float(canary.share))] if canary else []
    yield _gauge("dsops_canary_share", "Percent of the traffic that a canary has", share, ["release"])
    yield _one("dsops_peers_failing", "Peers that failed when last asked", acts.peers_failing)
    yield _one("dsops_history_lost", "1 while no history can be kept", float(acts.history_trouble))
    classes = [({"class": blame.value}, float(acts.blame is blame)) for blame in Blame]
    yield _gauge("dsops_decision_blame", "1 at the class that the present decision points at", classes)


def render_families(status: NodeStatus, sweep: Sweep) -> Iterator[Metric]:
    """All families of one server."""
    info = {
        "node": status.node,
        "role": status.role,
        "release": status.release,
        "version": status.dsops_version,
        "boot_id": status.boot_id,
    }
    yield _gauge("dsops_node_info", "Who this is and what it serves", [(info, 1)])
    yield _states("dsops_node_release_state", "state", ReleaseState, status.release_state)
    yield _states("dsops_node_phase", "phase", Phase, status.phase)
    yield _states("dsops_node_condition", "condition", Condition, status.condition)
    yield _one("dsops_node_drained", "1 while an operator keeps traffic away", float(status.drained is not None))
    yield _one("dsops_node_since_timestamp_seconds", "When release, phase or condition last changed", status.since)
    yield _one("dsops_agent_tick_timestamp_seconds", "When the last whole tick ended", status.observed_at)
    yield _one("dsops_node_tokens_per_second", "Generated tokens, last 10 s", status.tokens_per_second)
    yield _one("dsops_node_in_flight", "Requests in the gateway", status.in_flight)
    yield _one("dsops_node_uptime_seconds", "Since boot", status.uptime_seconds)
    blind = any(finding.condition is Condition.BLIND for finding in status.findings)
    yield _one("dsops_agent_blind", "1 while a check cannot see", float(blind))
    yield _slots(status)
    yield from _findings(status)
    yield _maintenance(status)
    yield _states("dsops_gpu_sweep", "result", Sweep, sweep)
    yield from _gpus(status.gpus)


def _slots(status: NodeStatus) -> Metric:
    rows = [
        ({"slot": slot.name, "release": slot.release, "phase": phase}, float(slot.phase is phase))
        for slot in status.slots
        for phase in Phase
    ]
    return _gauge("dsops_slot_phase", "1 at the phase that the slot is in", rows, ["slot", "release", "phase"])


def _findings(status: NodeStatus) -> Iterator[Metric]:
    """The worst ones; how many there can be depends on the hardware, how many series there may be does not."""
    labels = ["entity", "code", "status", "class", "condition", "measure", "maintenance"]
    worst = sorted(status.findings, key=lambda f: (f.status is not Verdict.BAD, -ORDER.index(f.measure)))
    rows = {}
    for f in worst[:MOST_FINDINGS]:
        held = str(bool(status.maintenance and status.maintenance.covers(f.code))).lower()
        words = (f.entity[:MOST_LETTERS], f.code[:MOST_LETTERS], f.status, f.blame, f.condition, f.measure, held)
        rows[words] = (dict(zip(labels, words, strict=True)), 1.0)
    yield _gauge("dsops_finding", "What the checks say now", list(rows.values()), labels)
    left_out = float(len(worst) - len(rows))
    yield _one("dsops_findings_left_out", "Findings that are too many to be shown one by one", left_out)


def _maintenance(status: NodeStatus) -> Metric:
    """Always there: a 0 says that it ended, a gap says nothing."""
    until = status.maintenance.until if status.maintenance and status.maintenance.is_whole else 0.0
    text = "Until when dsops does nothing by itself here, 0 while it may"
    return _one("dsops_maintenance_until_timestamp_seconds", text, until)


def _gpus(gpus: tuple[Gpu, ...]) -> Iterator[Metric]:
    for name, text, key in (
        ("dsops_gpu_temperature_celsius", "GPU core temperature", "temperature_c"),
        ("dsops_gpu_memory_used_bytes", "GPU memory in use", "memory_used_bytes"),
        ("dsops_gpu_memory_total_bytes", "GPU memory", "memory_total_bytes"),
        ("dsops_gpu_utilization_percent", "Share of time in which a kernel ran", "utilization_percent"),
        ("dsops_gpu_power_watts", "Power drawn", "power_w"),
    ):
        rows = [(_gpu_labels(g), value) for g in gpus if (value := getattr(g, key)) is not None]
        yield _gauge(name, text, rows, GPU_LABELS)


def render_gpus(reading: Reading, counters: GpuCounters, xids: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    """What alerts about GPUs want, of the last sweep; one that went leaves only what the kernel told of it.

    xids: (such as `Xid 79`, entity) -> how often.
    """
    for name, text, key in GPU_NUMBERS:
        rows = [
            (_gpu_labels(g), value) for g in reading.gpus if (value := reading.find_number(g.index, key)) is not None
        ]
        yield _gauge(name, text, rows, GPU_LABELS)
    yield _throttles(reading.gpus, counters)
    yield from _xids(xids)


def _throttles(gpus: tuple[Gpu, ...], counters: GpuCounters) -> Metric:
    places = [(gpu, key) for gpu in gpus for key in THROTTLES]
    grown = [(gpu, key, counters.counters.grown(name_of(gpu.index, key), TEN_MINUTES)) for gpu, key in places]
    rows = [({**_gpu_labels(gpu), "by": key}, float(count)) for gpu, key, count in grown if isinstance(count, int)]
    text = "Minutes of the last ten in which its clock was held down"
    return _gauge("dsops_gpu_throttle_minutes", text, rows, [*GPU_LABELS, "by"])


def _xids(xids: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    told = [(code.split(), entity.removeprefix("gpu").strip(), count) for (code, entity), count in xids.items()]
    for kind, text in (("Xid", "Xids"), ("SXid", "SXids of NVSwitches")):
        rows = [({kind.lower(): number, "gpu": gpu}, count) for (what, number), gpu, count in told if what == kind]
        yield _counter(f"dsops_{kind.lower()}", f"{text} in the kernel's log since the agent's start", rows)


def _gpu_labels(gpu: Gpu) -> dict[str, str]:
    return {"gpu": str(gpu.index), "uuid": gpu.uuid, "name": gpu.name}


def _states(name: str, label: str, states: Iterable[StrEnum], now: StrEnum) -> Metric:
    return _gauge(name, f"1 at the {label} that holds now", [({label: s}, float(s is now)) for s in states])


def _one(name: str, text: str, value: float | None) -> Metric:
    return _gauge(name, text, [] if value is None else [({}, value)], [])


def _gauge(
    name: str, text: str, rows: list[tuple[dict[str, str], float]], labels: list[str] | None = None
) -> GaugeMetricFamily:
    names = list(rows[0][0]) if labels is None else labels
    family = GaugeMetricFamily(name, text, labels=names)
    for row, value in rows:
        family.add_metric([str(row[n]) for n in names], value)
    return family


def _counter(name: str, text: str, rows: list[tuple[dict[str, str], int]]) -> Metric:
    names = list(rows[0][0]) if rows else []
    family = CounterMetricFamily(name, text, labels=names)
    for row, value in rows:
        family.add_metric([row[n] for n in names], value)
    return family
