"""Everything that one tick has read, before anybody judges it."""

from collections.abc import Mapping
from dataclasses import dataclass

from dsops.node.sources.gpus import Reading
from dsops.node.sources.host import Host
from dsops.node.sources.http import Answer
from dsops.node.sources.slots import SlotAnswers
from dsops.node.sources.units import Unit


@dataclass(frozen=True)
class Snapshot:
    """at = Unix seconds; ticks = monotonic; gateway None = has none."""

    at: float
    ticks: float
    host: Host
    units: Mapping[str, Unit]
    slots: Mapping[str, SlotAnswers]
    slot_releases: Mapping[str, str]
    stable_slot: str
    gateway: Answer | None
    gpus: Reading
