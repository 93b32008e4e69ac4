"""Reads the GPUs through NVML; runs as a child process, because NVML calls hang on broken drivers."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.status import Gpu
from dsops.node.sources.gpu_values import Earlier, Value, get_text, read_values

# Symbols of NVML that mean "there is nothing to read here", not "it is broken".
_ABSENT = {9: "the NVIDIA driver is not loaded", 12: "no NVIDIA driver (libnvidia-ml.so.1 not found)"}


class Sweep(StrEnum):
    """How one reading of all GPUs ended."""

    OK = "ok"
    ABSENT = "absent"
    ERROR = "error"
    HUNG = "hung"
    DEAD = "dead"
    PENDING = "pending"


@dataclass(frozen=True)
class Lost:
    """A GPU that the driver lists and that does not answer. code: what NVML says instead, by its number."""

    index: int
    reason: str
    code: int = 0


@dataclass(frozen=True)
class Reading:
    """One sweep. gpus in the driver's order; reason for every way but ok. values: what else was read of the GPUs; what
    one does not offer is not there."""

    sweep: Sweep
    gpus: tuple[Gpu, ...] = ()
    lost: tuple[Lost, ...] = ()
    reason: str = ""
    driver: str = ""
    values: tuple[Value, ...] = ()

    @cached_property
    def table(self) -> Mapping[tuple[int, str], Value]:
        """(index of the GPU, key) -> value."""
        return {(one.gpu, one.key): one for one in self.values}

    def find_number(self, gpu: int, key: str) -> float | None:
        """None when it is absent, or could not be read."""
        value = self.table.get((gpu, key))
        return value.number if value else None


def parse_reading(line: bytes) -> Reading:
    """What the child wrote. A line that is no reading means a dead child."""
    try:
        return decode(Reading, json.loads(line), where="gpu sweep")
    except (ValueError, DsopsError) as error:
        return Reading(Sweep.DEAD, reason=f"the GPU reader broke ({error})")


# --- from here on: the child ---------------------------------------------------------------------


def read_gpus(nvml: Any, earlier: Earlier | None = None) -> Reading:
    """One sweep through `nvml` (the pynvml module). Opens and closes NVML: a GPU reset finds no user.

    earlier: from one sweep to the next, for what takes long to read.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        code = int(error.value)
        return Reading(Sweep.ABSENT if code in _ABSENT else Sweep.ERROR, reason=_ABSENT.get(code, f"NVML: {error}"))
    try:
        return _read_all(nvml, earlier or Earlier())
    except nvml.NVMLError as error:
        return Reading(Sweep.ERROR, reason=f"NVML: {error}")
    finally:
        nvml.nvmlShutdown()


def _read_all(nvml: Any, earlier: Earlier) -> Reading:
    gpus: list[Gpu] = []
    lost: list[Lost] = []
    values: list[Value] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpu, read = _read_one(nvml, index, earlier)
        except nvml.NVMLError as error:
            lost.append(Lost(index, f"GPU {index}: {error}", int(error.value)))
            earlier.forget(index)
            continue
        if read and all(one.error for one in read):
            lost.append(Lost(index, f"GPU {index}: nothing of it can be read: {read[0].error}"))
            continue
        gpus.append(gpu)
        values += read
    reason = "" if gpus or lost else "the driver lists no GPU"
    return Reading(Sweep.OK, tuple(gpus), tuple(lost), reason, _read_driver(nvml), tuple(values))


def _read_driver(nvml: Any) -> str:
    try:
        return get_text(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return ""


def _read_one(nvml: Any, index: int, earlier: Earlier) -> tuple[Gpu, tuple[Value, ...]]:
    """Raises NVMLError when it does not answer at all."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name, uuid = get_text(nvml.nvmlDeviceGetName(handle)), get_text(nvml.nvmlDeviceGetUUID(handle))
    values = read_values(nvml, handle, gpu=index, earlier=earlier)
    numbers = {one.key: one.number for one in values if one.number is not None}
    power = numbers.get("power")
    gpu = Gpu(
        index=index,
        name=name,
        uuid=uuid,
        temperature_c=_whole(numbers, "temperature"),
        memory_used_bytes=_whole(numbers, "memory_used"),
        memory_total_bytes=_whole(numbers, "memory_total"),
        utilization_percent=_whole(numbers, "utilization"),
        power_w=None if power is None else power / 1000,
        pci=_read_place(nvml, handle),
    )
    return gpu, values


def _read_place(nvml: Any, handle: Any) -> str:
    try:
        place = nvml.nvmlDeviceGetPciInfo(handle)
    except nvml.NVMLError:
        return ""
    return get_text(place.busId) if place else ""


def _whole(numbers: Mapping[str, float], key: str) -> int | None:
    return int(numbers[key]) if key in numbers else None


def main() -> None:
    """Answers each line on standard input with one reading; ends with its parent."""
    import pynvml  # type: ignore[import-untyped]  # here: only the child may touch NVML

    earlier = Earlier()
    for _ in sys.stdin:
        sys.stdout.write(json.dumps(asdict(read_gpus(pynvml, earlier))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
