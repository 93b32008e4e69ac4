"""What the child that reads the GPUs said, one sample after the other, and what is made of them. Pure."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dsops.core.accept.figures import ALL, Scope
from dsops.core.accept.measured import Figure, Gap, Gpu, Lack, Taken

# Clock reasons that are a fault: slowed down by the board, by heat (both ways), by the power brake. NVML's own bits.
SLOW = 0x08 | 0x20 | 0x40 | 0x80
# Under load: products take more than a fifth of the time, and nothing takes more power.
LOADED = 0.8
OLD = "this GPU or its driver does not tell it"
AT_REST = ("ecc_on", "remap_pending", "remap_failed", "pcie_width", "nvlinks")
COUNTED = ("ecc_corrected", "ecc_uncorrected")
# figure -> the values that tell it, where they have other names; older GPUs retire pages instead of rows.
READ_AS = {
    "ecc_on": ("ecc_mode",),
    "remap_pending": ("remap_pending", "retired_pending"),
    "nvlinks": ("nvlinks_active",),
}


@dataclass(frozen=True)
class Seen:
    """One GPU at one moment. absent: what it does not offer; errors: what could not be read, and why."""

    index: int
    values: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """All of them at one moment. error: why nothing is told. xids: (uuid, number), since the last sample."""

    error: str = ""
    driver: str = ""
    gpus: tuple[Seen, ...] = ()
    xids: tuple[tuple[str, int], ...] = ()
    xids_lack: str = ""


def parse_sample(line: bytes) -> Sample:
    """What is no sample is one with an error."""
    try:
        data = json.loads(line)
        if data["error"]:
            return Sample(error=str(data["error"]))
        gpus = tuple(
            Seen(
                index=int(one["index"]),
                values={str(key): float(value) for key, value in one["values"].items()},
                words={str(key): str(value) for key, value in one["words"].items()},
                absent=frozenset(map(str, one["absent"])),
                errors={str(key): str(value) for key, value in one["errors"].items()},
            )
            for one in data["gpus"]
        )
        xids = tuple((str(one["uuid"]), int(one["xid"])) for one in data["xids"])
        return Sample("", str(data["driver"]), gpus, xids, str(data["xids_lack"]))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        return Sample(error=f"the GPU reader broke ({type(error).__name__}: {error})")


def find_gpus(sample: Sample) -> tuple[Gpu, ...]:
    """Which GPUs there are. One that does not tell its UUID has none."""
    return tuple(
        Gpu(
            index=one.index,
            uuid=one.words.get("uuid", ""),
            name=one.words.get("name", ""),
            serial=one.words.get("serial", ""),
            id=one.words.get("id", ""),
            memory_bytes=int(one.values.get("memory_total", 0)),
        )
        for one in sample.gpus
    )


def find_users(sample: Sample) -> str:
    """Who computes on the GPUs already, in words; "" when nobody does."""
    busy = [one for one in sample.gpus if one.values.get("processes")]
    return ", ".join(f"GPU {one.index}: {one.values['processes']:.0f} processes" for one in busy)


def sum_up(before: Sample, since: Sequence[Sample], after: Sample) -> Taken:
    """The figures at rest and of the counters; since: all samples after the first, for the Xids."""
    figures: list[Figure] = []
    gaps: list[Gap] = []
    heard = [xid for sample in since for xid in sample.xids]
    for gpu in before.gpus:
        # By its UUID: a GPU that fell off the bus gives its number to the next one.
        last = next((one for one in after.gpus if one.words.get("uuid") == gpu.words.get("uuid")), None)
        if last is None:
            names = ("xids", *COUNTED, *AT_REST)
            gaps += [Gap(name, Lack.UNREAD, after.error or "the GPU was gone afterwards", gpu.index) for name in names]
            continue
        for name in AT_REST:
            _read(name, last, figures, gaps)
        for name in COUNTED:
            _count(name, gpu, last, figures, gaps)
        if after.xids_lack:
            gaps.append(Gap("xids", Lack.UNREAD, f"the driver tells no Xids: {after.xids_lack}", gpu.index))
        else:
            mine = [number for uuid, number in heard if uuid == gpu.words.get("uuid")]
            figures.append(Figure("xids", len(mine), f"({', '.join(map(str, mine))})" if mine else "", gpu.index))
    return Taken(tuple(figures), gaps=tuple(gaps))


def sum_up_load(samples: Sequence[Sample]) -> Taken:
    """Power, clock, heat, slowdowns and the PCIe link while the GPUs worked."""
    figures: list[Figure] = []
    gaps: list[Gap] = []
    for index in sorted({gpu.index for sample in samples for gpu in sample.gpus}):
        seen = [gpu for sample in samples for gpu in sample.gpus if gpu.index == index]
        _sum_up_one(index, seen, figures, gaps)
    return Taken(tuple(figures), gaps=tuple(gaps))


def list_gaps(gpus: Iterable[Gpu], lack: Lack, why: str, *, names: Iterable[str] | None = None) -> tuple[Gap, ...]:
    """One for each figure and look that takes the GPUs' work; names: only of these."""
    wanted = set(names) if names is not None else {one.name for one in ALL if one.is_load}
    found: dict[tuple[str, int], Gap] = {}
    for about in ALL:
        if about.name not in wanted:
            continue
        places = [gpu.index for gpu in gpus] if about.scope in (Scope.GPU, Scope.PAIR) else [-1]
        for place in places:
            found[(about.name, place)] = Gap(about.name, lack, why, place)
    return tuple(found.values())


def list_places(figures: Iterable[Figure], gaps: Iterable[Gap]) -> set[tuple[str, int]]:
    """(figure, GPU) of which something is said."""
    return {(one.name, one.gpu) for one in figures} | {(one.name, one.gpu) for one in gaps}


def _read(name: str, gpu: Seen, figures: list[Figure], gaps: list[Gap]) -> None:
    key = next((key for key in READ_AS.get(name, (name,)) if key in gpu.values), None)
    if key is None:
        gaps.append(_tell_lack(name, gpu))
        return
    bound = gpu.values.get("pcie_width_max") if name == "pcie_width" else None
    figures.append(Figure(name, gpu.values[key], gpu=gpu.index, bound=bound))


def _count(name: str, before: Seen, after: Seen, figures: list[Figure], gaps: list[Gap]) -> None:
    if name in before.values and name in after.values:
        figures.append(Figure(name, after.values[name] - before.values[name], gpu=after.index))
    else:
        gaps.append(_tell_lack(name, after if name not in after.values else before))


def _tell_lack(name: str, gpu: Seen) -> Gap:
    keys = READ_AS.get(name, (name,))
    if why := next((gpu.errors[key] for key in keys if key in gpu.errors), ""):
        return Gap(name, Lack.UNREAD, why, gpu.index)
    is_absent = gpu.absent.issuperset(keys)
    return Gap(name, Lack.OTHER if is_absent else Lack.UNREAD, OLD if is_absent else "it was not told", gpu.index)


def _sum_up_one(index: int, seen: Sequence[Seen], figures: list[Figure], gaps: list[Gap]) -> None:
    def collect(name: str) -> list[float]:
        return [one.values[name] for one in seen if name in one.values]

    def lack(name: str, asked: str = "") -> None:
        told = _tell_lack(asked or name, seen[-1])
        gaps.append(Gap(name, told.lack, told.why, index))

    power, limits = collect("power"), collect("power_limit")
    high = _find_quantile(power, LOADED) if power else None
    if high is not None and limits and limits[-1] > 0:
        figures.append(Figure("power_share", 100 * high / limits[-1], gpu=index))
    else:
        lack("power_share", "power_limit" if power else "power")
    worked = [one for one in seen if high is None or one.values.get("power", 0.0) >= 0.9 * high]
    clocks = [one.values["clock"] for one in worked if "clock" in one.values]
    if clocks:
        figures.append(Figure("clock", statistics.median(clocks), gpu=index))
    else:
        lack("clock")
    if heat := collect("temperature"):
        bounds = collect("temperature_slowdown")
        figures.append(Figure("temperature", max(heat), gpu=index, bound=bounds[-1] if bounds else None))
    else:
        lack("temperature")
    if reasons := collect("reasons"):
        share = sum(1 for one in reasons if int(one) & SLOW) / len(reasons)
        figures.append(Figure("slowdown", 100 * share, gpu=index))
    else:
        lack("slowdown", "reasons")
    if generations := collect("pcie_generation"):
        best = collect("pcie_generation_max")
        figures.append(Figure("pcie_generation", max(generations), gpu=index, bound=best[-1] if best else None))
    else:
        lack("pcie_generation")


def _find_quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
