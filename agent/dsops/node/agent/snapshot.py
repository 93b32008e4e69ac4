"""Everything that one tick has read, before anybody judges it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from dsops.core.baseline import Baseline
from dsops.core.maintenance import Maintenance
from dsops.core.state import NodeState
from dsops.core.status import Finding, Phase
from dsops.node.agent.events import Seen, SlotSeen
from dsops.node.agent.situation import find_canary
from dsops.node.sources.gateway import GatewayStatus, SlotTraffic
from dsops.node.sources.golden import Golden
from dsops.node.sources.gpus import Reading
from dsops.node.sources.host import Host
from dsops.node.sources.http import Answer
from dsops.node.sources.passports import Papers
from dsops.node.sources.slots import SlotAnswers, find_progress, judge_slot
from dsops.node.sources.store import StoreReading
from dsops.node.sources.units import Unit
from dsops.node.store.audit import Reach

NOWHERE = SlotSeen("", "", Phase.STOPPED, Unit("", "missing"), None, None)


@dataclass(frozen=True)
class Snapshot:
    """at = Unix seconds; ticks = monotonic; gateway None = has none.

    golden: what the active release is to be asked, golden_reason why that cannot be read; goldens: of both slots'
    releases. disk_reason: why nobody could read them. damage: release -> what is wrong with it on the disk. checked:
    what the checks found. baseline: what was normal here. maintenance: that goes on now. papers_reason: why one of the
    two cannot be read. passports: of the releases in the slots.
    """

    at: float
    ticks: float
    host: Host
    units: Mapping[str, Unit]
    slots: Mapping[str, SlotAnswers]
    slot_releases: Mapping[str, str]
    stable_slot: str
    gateway: Answer | None
    gpus: Reading
    store: StoreReading = field(default_factory=lambda: StoreReading(NodeState()))
    golden: Golden | None = None
    golden_reason: str = ""
    goldens: Mapping[str, Golden] = field(default_factory=dict)
    disk_reason: str = ""
    audit: Reach = field(default_factory=lambda: Reach(is_there=False))
    damage: Mapping[str, str] = field(default_factory=dict)
    checked: tuple[Finding, ...] = ()
    baseline: Baseline | None = None
    maintenance: Maintenance | None = None
    papers_reason: str = ""
    passports: Mapping[str, Papers] = field(default_factory=dict)


def find_seen(snapshot: Snapshot, gateway: GatewayStatus | None) -> Seen:
    """What the watch needs of it: the slot that has the traffic, and the one that has a share of it."""
    store = snapshot.store
    move = find_canary(store.state)
    active = find_slot(snapshot, snapshot.stable_slot, gateway) or NOWHERE
    maintenance = snapshot.maintenance
    return Seen(
        slot=active.slot,
        release=active.release,
        phase=active.phase,
        unit=active.unit,
        progress=active.progress,
        golden=snapshot.golden if active.slot else None,
        gateway=gateway,
        store=store.state,
        seq=store.seq,
        canary=find_slot(snapshot, move.slot, gateway) if move else None,
        maintenance=maintenance.describe() if maintenance and maintenance.is_whole else "",
    )


def find_slot(snapshot: Snapshot, slot: str, gateway: GatewayStatus | None) -> SlotSeen | None:
    """One slot; None when there is none of that name."""
    answers, unit = snapshot.slots.get(slot), snapshot.units.get(f"triton@{slot}.service")
    if answers is None or unit is None:
        return None
    release = snapshot.slot_releases.get(slot, "")
    traffic = gateway.find_slot(slot) if gateway else SlotTraffic()
    return SlotSeen(
        slot=slot,
        release=release,
        phase=judge_slot(slot, release=release, unit=unit, answers=answers).phase,
        unit=unit,
        progress=find_progress(answers, traffic, at=snapshot.ticks),
        golden=snapshot.goldens.get(release),
    )
