"""Pure: what a snapshot says about the server."""

from dataclasses import replace

from dsops import __version__
from dsops.core.status import (
    Blame,
    Condition,
    Finding,
    NodeStatus,
    Phase,
    ReleaseState,
    Slot,
    Verdict,
    worst,
)
from dsops.node.agent.config import AgentConfig
from dsops.node.agent.rates import Rates
from dsops.node.agent.snapshot import Snapshot
from dsops.node.agent.view import NOTHING, View, add_store, judge_release
from dsops.node.sources.gateway import GatewayStatus, judge_gateway
from dsops.node.sources.slots import judge_slot
from dsops.node.sources.units import Unit
from dsops.node.store.audit import check_audit


def judge(
    config: AgentConfig, snapshot: Snapshot, rates: Rates, before: NodeStatus | None, view: View = NOTHING
) -> tuple[NodeStatus, Rates]:
    """The status to show, and the window of counters for the next tick. view: what the watch makes of it all."""
    slots = judge_slots(config, snapshot)
    rates = rates.add(snapshot.ticks, slots)
    gateway = judge_gateway(snapshot.gateway) if snapshot.gateway else GatewayStatus()
    findings = (*find_all(config, snapshot, slots, gateway), *view.findings)
    condition, reason = worst(findings)
    phase, phase_reason = judge_node_phase(config, snapshot, slots)
    release = snapshot.slot_releases.get(snapshot.stable_slot, "")
    if config.slots:
        state, state_reason = judge_release(snapshot.store, release, at=snapshot.at)
    else:
        state, state_reason = ReleaseState.NONE, f"a server of role {config.role} holds no release"
    status = NodeStatus(
        node=config.node,
        role=config.role,
        release=release,
        release_state=state,
        release_reason=state_reason,
        phase=phase,
        phase_reason=phase_reason,
        condition=condition,
        condition_reason=reason,
        since=snapshot.at,
        observed_at=snapshot.at,
        slots=slots,
        gpus=snapshot.gpus.gpus,
        gpus_reason=snapshot.gpus.reason,
        tokens_per_second=find_speed(rates, gateway),
        p99_seconds=gateway.p99_seconds,
        in_flight=gateway.in_flight,
        drained=gateway.drained,
        dsops_version=__version__,
        boot_id=snapshot.host.boot_id,
        uptime_seconds=snapshot.host.uptime_seconds,
        findings=findings,
        slot=snapshot.stable_slot,
        ejected=gateway.ejected.reason if gateway.ejected else None,
        verdict=view.verdict,
        strikes=view.strikes,
        failing_since=view.failing_since,
        proof=view.proof,
        canary=view.canary,
        maintenance=snapshot.maintenance,
    )
    told = add_store(status, snapshot.store, view, damaged=tuple(snapshot.damage))
    return keep_since(told, before), rates


def find_speed(rates: Rates, gateway: GatewayStatus) -> float | None:
    """Tokens per second by the engines' own counters; by the gateway's where an engine has none."""
    speed = rates.find_tokens_per_second()
    return gateway.tokens_per_second if speed is None else speed


def keep_since(status: NodeStatus, before: NodeStatus | None) -> NodeStatus:
    """`since` moves only when one of the words changed."""
    if before and _words(before) == _words(status):
        return replace(status, since=before.since)
    return status


def _words(s: NodeStatus) -> tuple[str, ...]:
    return (s.release, s.release_state, s.phase, s.condition, s.ejected or "")


def judge_slots(config: AgentConfig, snapshot: Snapshot) -> tuple[Slot, ...]:
    """Each configured slot."""
    return tuple(
        judge_slot(
            ports.name,
            release=snapshot.slot_releases.get(ports.name, ""),
            unit=snapshot.units[ports.unit],
            answers=snapshot.slots[ports.name],
        )
        for ports in config.slots
    )


def judge_node_phase(config: AgentConfig, snapshot: Snapshot, slots: tuple[Slot, ...]) -> tuple[Phase, str]:
    """The stable slot's phase; on a server without slots, its units'."""
    if not config.slots:
        return judge_units_phase([snapshot.units[name] for name in config.units])
    stable = next((s for s in slots if s.name == snapshot.stable_slot), None)
    if stable:
        return stable.phase, stable.reason
    return Phase.STOPPED, f"lane {config.lane} points at no slot"


def judge_units_phase(units: list[Unit]) -> tuple[Phase, str]:
    """serving when all run; else the first that does not, in its own words."""
    if not units:
        return Phase.UNKNOWN, "no unit is configured to be watched"
    odd = next((u for u in units if not u.is_running), None)
    if odd is None:
        return Phase.SERVING, ""
    phase = {"activating": Phase.LOADING, "unknown": Phase.UNKNOWN}.get(odd.active, Phase.STOPPED)
    return phase, odd.says


def find_all(
    config: AgentConfig, snapshot: Snapshot, slots: tuple[Slot, ...], gateway: GatewayStatus
) -> tuple[Finding, ...]:
    """Every finding, each check in its own function."""
    return (
        *snapshot.checked,
        *check_systemd(snapshot),
        *check_units(config, snapshot),
        *check_slots(config, snapshot, slots),
        *check_gateway(config, gateway),
        *(check_store(snapshot) if config.slots else ()),
        *check_papers(config, snapshot),
    )


def check_systemd(snapshot: Snapshot) -> tuple[Finding, ...]:
    """Blind when systemd cannot be asked."""
    unknown = [u for u in snapshot.units.values() if u.active == "unknown"]
    if not unknown:
        return ()
    mend = "`systemctl status` on the node"
    return (
        _finding(
            "systemd",
            "systemd.blind",
            Verdict.UNKNOWN,
            Condition.BLIND,
            unknown[0].says,
            mend,
            Blame.ENVIRONMENT,
        ),
    )


def check_units(config: AgentConfig, snapshot: Snapshot) -> tuple[Finding, ...]:
    """A unit that must run and does not."""
    units = [snapshot.units[name] for name in config.units]
    return tuple(
        _finding(
            u.name,
            "unit.down",
            Verdict.BAD,
            Condition.FAILED,
            u.says,
            f"`dsops logs {config.node} --unit {u.name}`",
        )
        for u in units
        if not u.is_running and u.active not in ("unknown", "activating")
    )


def check_slots(config: AgentConfig, snapshot: Snapshot, slots: tuple[Slot, ...]) -> tuple[Finding, ...]:
    """A slot that should run and is stopped, or one that nobody can hear."""
    found = []
    for slot in slots:
        entity, stable = f"slot {slot.name}", slot.name == snapshot.stable_slot
        mend = f"`dsops logs {config.node} --unit triton@{slot.name}`"
        if slot.phase is Phase.STOPPED and (stable or (slot.unit == "failed" and is_way_back(slot, snapshot))):
            condition = Condition.FAILED if stable else Condition.DEGRADED
            found.append(_finding(entity, "slot.stopped", Verdict.BAD, condition, slot.reason, mend))
        if slot.phase is Phase.UNKNOWN and stable:
            found.append(_finding(entity, "slot.silent", Verdict.UNKNOWN, Condition.BLIND, slot.reason, mend))
    if config.slots and not snapshot.stable_slot:
        said = f"lane {config.lane} points at no slot: this node has no release"
        found.append(
            _finding("lane", "lane.empty", Verdict.BAD, Condition.DEGRADED, said, "`dsops deploy`", Blame.DSOPS)
        )
    return tuple(found)


def is_way_back(slot: Slot, snapshot: Snapshot) -> bool:
    """Whether the idle slot holds a release to go back to. One that was left because it hung may end as `failed`."""
    state = snapshot.store.state
    if state is None:
        return bool(slot.release)
    return bool(slot.release) and state.find_bad(slot.release, at=snapshot.at) is None


def check_gateway(config: AgentConfig, gateway: GatewayStatus) -> tuple[Finding, ...]:
    """Silent, or told to refuse."""
    if not config.gateway:
        return ()
    if gateway.reason:
        mend = f"`dsops logs {config.node} --unit dsops-gateway`"
        return (
            _finding("gateway", "gateway.silent", Verdict.BAD, Condition.FAILED, gateway.reason, mend, Blame.DSOPS),
        )
    if gateway.drained is not None:
        said, mend = f"drained: {gateway.drained}", f"`dsops undrain {config.node}`"
        return (_finding("gateway", "node.drained", Verdict.OK, Condition.MAINTENANCE, said, mend, Blame.ENVIRONMENT),)
    return ()


def check_papers(config: AgentConfig, snapshot: Snapshot) -> tuple[Finding, ...]:
    """A maintenance that goes on; and what people left for the agent, and it cannot read."""
    found = []
    if maintenance := snapshot.maintenance:
        mend = f"`dsops maintenance {config.node} --end`"
        said, blame = maintenance.describe(), Blame.ENVIRONMENT
        found.append(_finding("node", "node.maintenance", Verdict.OK, Condition.MAINTENANCE, said, mend, blame))
    if snapshot.papers_reason:
        said, mend = f"counts as none: {snapshot.papers_reason}", "write it anew: `dsops maintenance`, `dsops baseline`"
        found.append(_finding("store", "papers.unreadable", Verdict.BAD, Condition.DEGRADED, said, mend, Blame.DSOPS))
    return tuple(found)


def check_store(snapshot: Snapshot) -> tuple[Finding, ...]:
    """The disk is silent, the journal or the golden prompts cannot be read, the audit falls behind."""
    found, blind = [], Condition.BLIND
    if snapshot.disk_reason:
        mend = "look at the disk: `dmesg`"
        found.append(_finding("disk", "disk.silent", Verdict.UNKNOWN, blind, snapshot.disk_reason, mend, Blame.STORAGE))
    if snapshot.store.reason:
        said, mend = snapshot.store.reason, "`dsops deploy`; `dsops node logs dsops-helper`"
        found.append(_finding("store", "store.unreadable", Verdict.UNKNOWN, blind, said, mend, Blame.DSOPS))
    if snapshot.golden_reason:
        said, mend = snapshot.golden_reason, "`dsops release build`, push and activate it"
        found.append(_finding("probe", "probe.blind", Verdict.UNKNOWN, blind, said, mend, Blame.DSOPS))
    found += check_damage(snapshot)
    return (*found, *check_audit(snapshot.audit, snapshot.store.records, at=snapshot.at))


def check_damage(snapshot: Snapshot) -> list[Finding]:
    """A release that does not lie there as it was built. Only the active one's explains why the active one fails."""
    active = snapshot.slot_releases.get(snapshot.stable_slot, "")
    found = []
    for release, says in snapshot.damage.items():
        what = "has the traffic and may not start again" if release == active else "is no good way back"
        mend = f"`dsops release push {release}` brings it again; look at the disk: `dmesg`, `smartctl -a`"
        code, reason = "store.damaged" if release == active else "release.damaged", f"{release} {what}: {says}"
        found.append(_finding(release, code, Verdict.BAD, Condition.DEGRADED, reason, mend, Blame.STORAGE))
    return found


def _finding(
    entity: str,
    code: str,
    status: Verdict,
    condition: Condition,
    reason: str,
    mend: str,
    blame: Blame = Blame.UNKNOWN,
) -> Finding:
    return Finding(entity, code, status, blame, condition, reason, mend)
