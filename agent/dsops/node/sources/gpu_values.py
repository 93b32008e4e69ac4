"""What checks read of a GPU: a table of keys, each read by itself, so that one that fails takes no other with it.

Runs in the child that may touch NVML (gpus.py). A value is a number or a word; it is absent where the GPU or its driver
does not offer it; and one that cannot be read is an error, kept as text: never a number that was made up.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from ctypes import byref
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

# NVML's own numbers. Nothing to read: not supported, not in this driver, a structure that is newer than this driver.
ABSENT = (3, 13, 25)
INVALID_ARGUMENT = 2
CORRUPTED_INFOROM = 14
# Of the whole GPU, whatever was asked: it left the bus; it wants a reset first.
LOST, RESET_REQUIRED = 15, 16
GONE = (LOST, RESET_REQUIRED)
MOST_LINKS = 18
ERROR_LETTERS = 120


@dataclass(frozen=True)
class Value:
    """One value of the GPU with this index. error: why it could not be read; then number and text say nothing."""

    gpu: int
    key: str
    number: float | None = None
    text: str = ""
    error: str = ""


Answer = float | str | bytes | None
Ask = Callable[[Any, Any], tuple[Answer, ...]]


def call(name: str, *words: int) -> Ask:
    """A function of NVML that answers one value."""
    return lambda nvml, handle: (getattr(nvml, name)(handle, *words),)


def _members(name: str, *members: str) -> Ask:
    """One that answers a structure."""
    return lambda nvml, handle: tuple(getattr(getattr(nvml, name)(handle), one) for one in members)


def _validate_inforom(nvml: Any, handle: Any) -> tuple[Answer, ...]:
    try:
        nvml.nvmlDeviceValidateInforom(handle)
    except nvml.NVMLError as error:
        if error.value != CORRUPTED_INFOROM:
            raise
        return (1,)
    return (0,)


def _count_links(nvml: Any, handle: Any) -> tuple[Answer, ...]:
    """NVLinks that it has, and those that are up; absent where there is none."""
    there = active = 0
    for link in range(MOST_LINKS):
        try:
            active += int(nvml.nvmlDeviceGetNvLinkState(handle, link))
            there += 1
        except nvml.NVMLError as error:
            if error.value not in (*ABSENT, INVALID_ARGUMENT):
                raise
    return (there, active) if there else (None, None)


def _read_fabric(nvml: Any, handle: Any) -> tuple[Answer, ...]:
    """State, how that ended, and health in sum; absent on a GPU that is on no fabric."""
    info = nvml.c_nvmlGpuFabricInfo_v3_t()
    try:
        nvml.nvmlDeviceGetGpuFabricInfoV(handle, byref(info))
    except nvml.NVMLError as error:
        if error.value not in ABSENT:
            raise
        info = nvml.c_nvmlGpuFabricInfo_t()
        nvml.nvmlDeviceGetGpuFabricInfo(handle, byref(info))
    if not info.state:
        return (None, None, None)
    return (int(info.state), int(info.status), int(getattr(info, "healthSummary", 0)))


def _read_sram(nvml: Any, handle: Any) -> tuple[Answer, ...]:
    status = nvml.c_nvmlEccSramErrorStatus_v1_t()
    nvml.nvmlDeviceGetSramEccErrorStatus(handle, byref(status))
    return (int(status.bThresholdExceeded),)


# keys -> how they are read, with one call mostly. Temperatures in degrees C, power in mW, clocks in MHz.
TABLE: Mapping[tuple[str, ...], Ask] = {
    ("temperature",): call("nvmlDeviceGetTemperature", 0),
    ("temperature_max",): call("nvmlDeviceGetTemperatureThreshold", 3),
    ("memory_temperature_max",): call("nvmlDeviceGetTemperatureThreshold", 2),
    ("margin",): call("nvmlDeviceGetMarginTemperature"),
    ("memory_used", "memory_total"): _members("nvmlDeviceGetMemoryInfo", "used", "total"),
    ("utilization",): _members("nvmlDeviceGetUtilizationRates", "gpu"),
    ("power",): call("nvmlDeviceGetPowerUsage"),
    ("clock",): call("nvmlDeviceGetClockInfo", 1),
    ("clock_max",): call("nvmlDeviceGetMaxClockInfo", 1),
    ("reasons",): call("nvmlDeviceGetCurrentClocksEventReasons"),
    ("ecc_mode", "ecc_mode_pending"): lambda nvml, handle: tuple(nvml.nvmlDeviceGetEccMode(handle)),
    ("ecc_corrected",): call("nvmlDeviceGetTotalEccErrors", 0, 0),
    ("ecc_uncorrected",): call("nvmlDeviceGetTotalEccErrors", 1, 0),
    ("sram_exceeded",): _read_sram,
    ("remapped_corrected", "remapped_uncorrected", "remap_pending", "remap_failed"): lambda nvml, handle: tuple(
        nvml.nvmlDeviceGetRemappedRows(handle)
    ),
    ("persistence",): call("nvmlDeviceGetPersistenceMode"),
    ("inforom_corrupt",): _validate_inforom,
    ("vbios",): call("nvmlDeviceGetVbiosVersion"),
    ("processes",): lambda nvml, handle: (len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)),),
    ("pcie_generation",): call("nvmlDeviceGetCurrPcieLinkGeneration"),
    ("pcie_generation_max",): call("nvmlDeviceGetMaxPcieLinkGeneration"),
    ("pcie_width",): call("nvmlDeviceGetCurrPcieLinkWidth"),
    ("pcie_width_max",): call("nvmlDeviceGetMaxPcieLinkWidth"),
    ("pcie_replays",): call("nvmlDeviceGetPcieReplayCounter"),
    ("nvlinks", "nvlinks_active"): _count_links,
    ("fabric_state", "fabric_status", "fabric_summary"): _read_fabric,
}
# key -> number of NVML's field. All of them are read with one call.
FIELDS: Mapping[str, int] = {
    "recovery_action": 230,
    "memory_temperature": 82,
    "margin_slowdown": 194,
    "retired_sbe": 29,
    "retired_dbe": 30,
    "retired_pending": 31,
}
# key -> fields of every NVLink, which are added up; another call.
LINK_FIELDS: Mapping[str, tuple[int, ...]] = {"nvlink_replays": (161, 162), "nvlink_crc": (163,)}
# The same of those from Blackwell on, which count other things: asked only where those above are not there.
NEWER_LINK_FIELDS: Mapping[str, tuple[int, ...]] = {
    "nvlink_recoveries": (215,),
    "nvlink_failed_recoveries": (214,),
    # Malformed packets, overrun buffers, errors that were received, and those of the link's integrity.
    "nvlink_faults": (206, 207, 208, 210, 211),
}
# What takes long -> seconds until it is read again. On an H100 the infoROM took 70 ms and the links' fields 38; all the
# rest takes 15, and most of its calls less than one.
LINKS = "links"
SLOW = {"inforom_corrupt": 600.0, LINKS: 30.0}
# NVML's types of a field's answer.
MEMBERS = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
KEYS = (*(key for keys in TABLE for key in keys), *FIELDS, *LINK_FIELDS, *NEWER_LINK_FIELDS)


class Earlier:
    """What was read not long ago of what takes the driver long: its locks are those of the engines too."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[tuple[int, str], tuple[float, list[Value]]] = {}

    def read(self, gpu: int, key: str, read: Callable[[], list[Value]]) -> list[Value]:
        """As it was read last, or now when that is too old; an error is not kept."""
        at, values = self._kept.get((gpu, key), (float("-inf"), []))
        if self._clock() - at < SLOW[key]:
            return values
        values = read()
        if not any(one.error for one in values):
            self._kept[gpu, key] = (self._clock(), values)
        return values

    def forget(self, gpu: int) -> None:
        """It did not answer: what it was is no news of it any more."""
        self._kept = {place: kept for place, kept in self._kept.items() if place[0] != gpu}


def read_values(nvml: Any, handle: Any, *, gpu: int, earlier: Earlier) -> tuple[Value, ...]:
    """All that is there. Raises NVMLError when the whole GPU is lost or wants a reset."""
    found: list[Value] = []
    for keys, ask in TABLE.items():
        read = partial(read_table, nvml, handle, {keys: ask}, gpu=gpu)
        found += earlier.read(gpu, keys[0], read) if keys[0] in SLOW else read()
    found += _read_fields(nvml, handle, {key: [(field, 0)] for key, field in FIELDS.items()}, gpu=gpu)
    if any(one.key == "nvlinks" for one in found):
        found += earlier.read(gpu, LINKS, partial(_read_links, nvml, handle, gpu=gpu))
    return tuple(found)


def _read_links(nvml: Any, handle: Any, *, gpu: int) -> list[Value]:
    """What the links counted, by those fields that this GPU knows."""
    for table in (LINK_FIELDS, NEWER_LINK_FIELDS):
        links = {key: list(product(fields, range(MOST_LINKS))) for key, fields in table.items()}
        if found := _read_fields(nvml, handle, links, gpu=gpu):
            return found
    return []


def read_table(nvml: Any, handle: Any, table: Mapping[tuple[str, ...], Ask], *, gpu: int) -> list[Value]:
    """Every entry by itself. Raises NVMLError when the whole GPU is lost or wants a reset."""
    found: list[Value] = []
    for keys, ask in table.items():
        found += _read(nvml, keys, partial(ask, nvml, handle), gpu=gpu)
    return found


def _read(nvml: Any, keys: tuple[str, ...], ask: Callable[[], tuple[Answer, ...]], *, gpu: int) -> list[Value]:
    try:
        answers = zip(keys, ask(), strict=True)
        return [_make_value(gpu, key, answer) for key, answer in answers if answer is not None]
    except nvml.NVMLError as error:
        if error.value in GONE:
            raise
        return [] if error.value in ABSENT else _fail(keys, str(error), gpu=gpu)
    except Exception as error:  # a binding that answers in another way breaks this value and no other
        return _fail(keys, f"{type(error).__name__}: {error}", gpu=gpu)


def _make_value(gpu: int, key: str, answer: float | str | bytes) -> Value:
    if isinstance(answer, str | bytes):
        return Value(gpu, key, text=get_text(answer))
    return Value(gpu, key, float(answer))


def _fail(keys: Iterable[str], says: str, *, gpu: int) -> list[Value]:
    return [Value(gpu, key, error=says[:ERROR_LETTERS]) for key in keys]


def _read_fields(nvml: Any, handle: Any, wanted: Mapping[str, list[tuple[int, int]]], *, gpu: int) -> list[Value]:
    """With one call, since a driver answers each field with its own code. wanted: key -> (field, link)."""
    asked = [one for ones in wanted.values() for one in ones]
    try:
        answers = dict(zip(asked, nvml.nvmlDeviceGetFieldValues(handle, asked), strict=True))
    except nvml.NVMLError as error:
        if error.value in GONE:
            raise
        return [] if error.value in ABSENT else _fail(wanted, str(error), gpu=gpu)
    except Exception as error:
        return _fail(wanted, f"{type(error).__name__}: {error}", gpu=gpu)
    found: list[Value] = []
    for key, ones in wanted.items():
        found += _read(nvml, (key,), partial(_add_up, nvml, [answers[one] for one in ones]), gpu=gpu)
    return found


def _get_field(nvml: Any, field: Any) -> float | None:
    """None where this GPU or driver does not have it: a driver calls a field that it never heard of invalid."""
    if field.nvmlReturn in (*ABSENT, INVALID_ARGUMENT):
        return None
    if field.nvmlReturn:
        raise nvml.NVMLError(field.nvmlReturn)
    return float(getattr(field.value, MEMBERS[field.valueType]))


def _add_up(nvml: Any, fields: list[Any]) -> tuple[Answer, ...]:
    """None where not one of them is there."""
    numbers = [number for one in fields if (number := _get_field(nvml, one)) is not None]
    return (sum(numbers) if numbers else None,)


def get_text(value: str | bytes) -> str:
    """NVML's older bindings answer in bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
