"""As much of pynvml as a sweep uses: healthy H100s, and what a test makes of them."""

from collections.abc import Sequence
from ctypes import Structure, c_uint
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

FIELDS = {230: (1, 0), 82: (1, 33), 194: (5, -2), 161: (3, 0), 162: (3, 0), 163: (3, 0)}
MEMBERS = {1: "uiVal", 3: "ullVal", 5: "siVal"}
ANSWERS: dict[str, Any] = {
    "nvmlSystemGetDriverVersion": "580.1",
    "nvmlDeviceGetName": b"NVIDIA H100",
    "nvmlDeviceGetPciInfo": SimpleNamespace(busId="00000000:3B:00.0"),
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=3, total=8),
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=55),
    "nvmlDeviceGetPowerUsage": 99500,
    "nvmlDeviceGetTemperature": 41,
    "nvmlDeviceGetTemperatureThreshold": 87,
    "nvmlDeviceGetMarginTemperature": 46,
    "nvmlDeviceGetClockInfo": 1980,
    "nvmlDeviceGetMaxClockInfo": 1980,
    "nvmlDeviceGetCurrentClocksEventReasons": 1,
    "nvmlDeviceGetEccMode": [1, 1],
    "nvmlDeviceGetTotalEccErrors": 0,
    "nvmlDeviceGetRemappedRows": (0, 0, 0, 0),
    "nvmlDeviceGetPersistenceMode": 1,
    "nvmlDeviceValidateInforom": None,
    "nvmlDeviceGetVbiosVersion": "96.00",
    "nvmlDeviceGetComputeRunningProcesses": [],
    "nvmlDeviceGetCurrPcieLinkGeneration": 5,
    "nvmlDeviceGetMaxPcieLinkGeneration": 5,
    "nvmlDeviceGetCurrPcieLinkWidth": 16,
    "nvmlDeviceGetMaxPcieLinkWidth": 16,
    "nvmlDeviceGetPcieReplayCounter": 0,
    "nvmlDeviceGetNvLinkState": 1,
}


class NvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


class _Fabric(Structure):
    _fields_ = (("state", c_uint), ("status", c_uint), ("healthSummary", c_uint))


class _Sram(Structure):
    _fields_ = (("bThresholdExceeded", c_uint),)


@dataclass
class FakeNvml:
    """errors: function or number of a field -> NVML's code. lost: silent indices. answers, fields: instead of an
    H100's. calls: names of the functions that were called."""

    count: int = 2
    errors: dict[str | int, int] = field(default_factory=dict)
    lost: tuple[int, ...] = ()
    answers: dict[str, Any] = field(default_factory=dict)
    fields: dict[int, tuple[int, int]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    open: int = 0
    NVMLError = NvmlError

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            if name in self.errors:
                raise NvmlError(self.errors[name])
            return self.answer(name, *args)

        return call

    def answer(self, name: str, *args: Any) -> Any:
        if name == "nvmlDeviceGetHandleByIndex" and args[0] in self.lost:
            raise NvmlError(15)
        self.open += {"nvmlInit": 1, "nvmlShutdown": -1}.get(name, 0)
        ours = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": self.count,
            "nvmlDeviceGetHandleByIndex": args[0] if args else None,
            "nvmlDeviceGetUUID": f"GPU-{args[0] if args else ''}",
        }
        return {**ANSWERS, **ours, **self.answers}[name]

    def nvmlDeviceGetFieldValues(self, _: Any, asked: Sequence[tuple[int, int]]) -> list[SimpleNamespace]:
        self.calls.append("nvmlDeviceGetFieldValues")
        if code := self.errors.get("nvmlDeviceGetFieldValues"):
            raise NvmlError(code)
        return [self._answer_field(number) for number, _ in asked]

    def _answer_field(self, number: int) -> SimpleNamespace:
        known = {**FIELDS, **self.fields}
        code = self.errors.get(number, 0 if number in known else 3)
        kind, value = known.get(number, (3, 0))
        return SimpleNamespace(
            fieldId=number, nvmlReturn=code, valueType=kind, value=SimpleNamespace(**{MEMBERS[kind]: value})
        )

    def c_nvmlGpuFabricInfo_v3_t(self) -> Any:
        return _Fabric(3, 0, 0)

    def c_nvmlEccSramErrorStatus_v1_t(self) -> Any:
        return _Sram(0)

    def nvmlDeviceGetGpuFabricInfoV(self, *_: Any) -> None:
        self._fail("nvmlDeviceGetGpuFabricInfoV")

    def nvmlDeviceGetSramEccErrorStatus(self, *_: Any) -> None:
        self._fail("nvmlDeviceGetSramEccErrorStatus")

    def _fail(self, name: str) -> None:
        if name in self.errors:
            raise NvmlError(self.errors[name])
