"""What the GPUs counted over the last half hour, and what dsops counts itself: minutes of throttling, work done."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dsops.node.sources.counters import Counters
from dsops.node.sources.gpu_values import Value
from dsops.node.sources.gpus import Reading, Sweep
from dsops.node.sources.unread import Unread

# What the driver counts.
COUNTED = (
    *("ecc_corrected", "ecc_uncorrected", "pcie_replays", "nvlink_replays", "nvlink_crc"),
    *("nvlink_recoveries", "nvlink_failed_recoveries", "nvlink_faults"),
)
# counter of minutes -> bits of the clocks' event reasons. Hardware: slowdown, heat, power brake; software: power cap,
# heat. Being idle is none.
THROTTLES = {"throttle_hw": 0x08 | 0x40 | 0x80, "throttle_sw": 0x04 | 0x20}
WORK = "work"
# A sweep that comes later than this says nothing of the time before.
LONGEST_SECONDS = 60.0


def name_of(gpu: int, key: str) -> str:
    """As the counters have it."""
    return f"gpu{gpu}/{key}"


@dataclass(frozen=True)
class GpuCounters:
    """gpus: whose they are; other GPUs begin anew. own: what was counted here. minutes: the last one that counted.

    at: of the last sweep that went well, in seconds of the monotonic clock.
    """

    counters: Counters = field(default_factory=Counters)
    gpus: tuple[tuple[int, str], ...] = ()
    own: Mapping[str, int] = field(default_factory=dict)
    minutes: Mapping[str, int] = field(default_factory=dict)
    at: float | None = None

    def add(self, reading: Reading, *, at: float) -> "GpuCounters":
        """With one more sweep; one that did not end well says nothing."""
        if reading.sweep is not Sweep.OK:
            return self
        gpus = tuple((gpu.index, gpu.uuid) for gpu in reading.gpus)
        kept = self if gpus == self.gpus else GpuCounters(gpus=gpus)
        own, minutes = dict(kept.own), dict(kept.minutes)
        seconds = min(at - kept.at, LONGEST_SECONDS) if kept.at is not None else 0.0
        found: dict[str, int | Unread] = {}
        for index, _ in gpus:
            found |= _take_counted(reading, index)
            found |= _take_own(reading, index, own, minutes, minute=int(at // 60), seconds=seconds)
        return replace(kept, counters=kept.counters.add(at, found), own=own, minutes=minutes, at=at)


def _take_counted(reading: Reading, gpu: int) -> dict[str, int | Unread]:
    values = {key: value for key in COUNTED if (value := reading.table.get((gpu, key)))}
    return {name_of(gpu, key): _convert(value) for key, value in values.items()}


def _take_own(
    reading: Reading, gpu: int, own: dict[str, int], minutes: dict[str, int], *, minute: int, seconds: float
) -> dict[str, int | Unread]:
    """Changes own and minutes. Work: percent times milliseconds."""
    found: dict[str, int | Unread] = {}
    if reasons := reading.table.get((gpu, "reasons")):
        for key, bits in THROTTLES.items():
            name = name_of(gpu, key)
            if int(reasons.number or 0) & bits and minutes.get(name) != minute:
                minutes[name], own[name] = minute, own.get(name, 0) + 1
            found[name] = Unread(reasons.error) if reasons.error else own.get(name, 0)
    if used := reading.table.get((gpu, "utilization")):
        name = name_of(gpu, WORK)
        own[name] = own.get(name, 0) + int((used.number or 0) * seconds * 1000)
        found[name] = Unread(used.error) if used.error else own[name]
    return found


def _convert(value: Value) -> int | Unread:
    return Unread(value.error) if value.error else int(value.number or 0)
