"""Reads the GPUs through NVML; runs as a child process, because NVML calls hang on broken drivers."""

import json
import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from dsops.core.decode import decode
from dsops.core.errors import DsopsError
from dsops.core.status import Blame, Condition, Finding, Gpu, Measure, Verdict

# Symbols of NVML that mean "there is nothing to read here", not "it is broken".
_ABSENT = {9: "the NVIDIA driver is not loaded", 12: "no NVIDIA driver (libnvidia-ml.so.1 not found)"}
_NOT_SUPPORTED = 3


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
    """A GPU that the driver lists and that does not answer."""

    index: int
    reason: str


@dataclass(frozen=True)
class Reading:
    """One sweep. gpus in the driver's order; reason for every way but ok."""

    sweep: Sweep
    gpus: tuple[Gpu, ...] = ()
    lost: tuple[Lost, ...] = ()
    reason: str = ""
    driver: str = ""


def parse_reading(line: bytes) -> Reading:
    """What the child wrote. A line that is no reading means a dead child."""
    try:
        return decode(Reading, json.loads(line), where="gpu sweep")
    except (ValueError, DsopsError) as error:
        return Reading(Sweep.DEAD, reason=f"the GPU reader broke ({error})")


def judge_gpus(reading: Reading, *, expected: int | None) -> tuple[Finding, ...]:
    """Findings of one sweep. expected = how many GPUs the inventory promises, None = not said."""
    if reading.sweep in (Sweep.HUNG, Sweep.DEAD, Sweep.ERROR):
        mend = "`nvidia-smi` by hand; if it hangs too: `dsops drain`, then reboot"
        return (_finding(f"gpu.{reading.sweep}", Verdict.UNKNOWN, Condition.BLIND, reading.reason, mend),)
    if reading.sweep is Sweep.PENDING:
        return ()
    findings = [
        _finding(
            "gpu.lost",
            Verdict.BAD,
            Condition.FAILED,
            lost.reason,
            "`dsops drain`, then a cold reboot",
            f"gpu{lost.index}",
            Measure.REBOOT,
        )
        for lost in reading.lost
    ]
    missing = (expected or 0) - len(reading.gpus) - len(reading.lost)
    if missing > 0:
        said = f"{len(reading.gpus)} of {expected} GPUs answer" + (f": {reading.reason}" if reading.reason else "")
        mend = "`dsops drain`, then reboot"
        findings.append(_finding("gpu.count", Verdict.BAD, Condition.FAILED, said, mend, measure=Measure.REBOOT))
    return tuple(findings)


def _finding(
    code: str,
    status: Verdict,
    condition: Condition,
    reason: str,
    mend: str,
    entity: str = "gpus",
    measure: Measure = Measure.ALERT,
) -> Finding:
    return Finding(entity, code, status, Blame.HARDWARE, condition, reason, mend, measure)


# --- from here on: the child ---------------------------------------------------------------------


def read_gpus(nvml: Any) -> Reading:
    """One sweep through `nvml` (the pynvml module). Opens and closes NVML: a GPU reset finds no user."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        code = int(error.value)
        return Reading(Sweep.ABSENT if code in _ABSENT else Sweep.ERROR, reason=_ABSENT.get(code, f"NVML: {error}"))
    try:
        return _read_all(nvml)
    except nvml.NVMLError as error:
        return Reading(Sweep.ERROR, reason=f"NVML: {error}")
    finally:
        nvml.nvmlShutdown()


def _read_all(nvml: Any) -> Reading:
    gpus, lost = [], []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            gpus.append(_read_one(nvml, index))
        except nvml.NVMLError as error:
            lost.append(Lost(index, f"GPU {index}: {error}"))
    driver = _text(nvml.nvmlSystemGetDriverVersion())
    reason = "" if gpus or lost else "the driver lists no GPU"
    return Reading(Sweep.OK, tuple(gpus), tuple(lost), reason, driver)


def _read_one(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = _find(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    rates = _find(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    power = _find(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    place = _find(nvml, lambda: nvml.nvmlDeviceGetPciInfo(handle))
    temperature = _find(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    return Gpu(
        index=index,
        name=_text(nvml.nvmlDeviceGetName(handle)),
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        temperature_c=None if temperature is None else int(temperature),
        memory_used_bytes=int(memory.used) if memory else None,
        memory_total_bytes=int(memory.total) if memory else None,
        utilization_percent=int(rates.gpu) if rates else None,
        power_w=None if power is None else power / 1000,
        pci=_text(place.busId) if place else "",
    )


def _find(nvml: Any, read: Any) -> Any:
    """None when this GPU or driver does not offer the value; any other error means the GPU is lost."""
    try:
        return read()
    except nvml.NVMLError as error:
        if error.value in (_NOT_SUPPORTED, nvml.NVML_ERROR_FUNCTION_NOT_FOUND):
            return None
        raise


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def main() -> None:
    """Answers each line on standard input with one reading; ends with its parent."""
    import pynvml  # type: ignore[import-untyped]  # here: only the child may touch NVML

    for _ in sys.stdin:
        sys.stdout.write(json.dumps(asdict(read_gpus(pynvml))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
