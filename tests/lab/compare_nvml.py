"""Asks an NVML library the same questions, real or simulated, and prints what kind of answer each one gets.

`python tests/lab/compare_nvml.py [--values]` needs nothing but nvidia-ml-py and changes no setting of a GPU.
The answers of a real H100 are kept in h100_answers.jsonl beside this file.
"""

import ctypes
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pynvml as n

Ask = Callable[[Any], Any]
FIELDS = range(1, n.NVML_FI_MAX)
OF_A_LINK = (161, 162, 163, 164, 165, 166, 167, *range(138, 142), *range(202, 224))  # asked with a link's number
PLACES = "nvmlDeviceGetGpuInstancePossiblePlacements"
WORDS = """
    Name UUID Serial BoardPartNumber VbiosVersion InforomImageVersion InforomConfigurationChecksum Brand BoardId
    MultiGpuBoard ModuleId NumaNodeId MinorNumber Index Architecture CudaComputeCapability GspFirmwareVersion
    GspFirmwareMode PciInfo_v3 MemoryInfo BAR1MemoryInfo UtilizationRates EncoderUtilization DecoderUtilization
    JpgUtilization OfaUtilization MarginTemperature PowerUsage PowerManagementMode PowerManagementLimit
    PowerManagementDefaultLimit PowerManagementLimitConstraints EnforcedPowerLimit TotalEnergyConsumption PowerSource
    PowerState PerformanceState SupportedClocksThrottleReasons SupportedClocksEventReasons
    CurrentClocksThrottleReasons CurrentClocksEventReasons PersistenceMode ComputeMode EccMode DefaultEccMode
    MigMode MaxMigDeviceCount RemappedRows RowRemapperHistogram RetiredPagesPendingStatus RepairStatus
    CurrPcieLinkGeneration MaxPcieLinkGeneration CurrPcieLinkWidth MaxPcieLinkWidth GpuMaxPcieLinkGeneration
    PcieReplayCounter PcieSpeed PcieLinkMaxSpeed ComputeRunningProcesses_v2 ComputeRunningProcesses_v3
    GraphicsRunningProcesses_v3 MPSComputeRunningProcesses_v3 SupportedEventTypes NumFans DisplayMode DisplayActive
    AccountingMode VirtualizationMode NumGpuCores MemoryBusWidth IrqNum BusType
"""


def ask_device(verb: str, *rest: Any) -> Ask:
    return lambda gpu: getattr(n, f"nvmlDevice{verb}")(gpu, *rest)


def fill(verb: str, struct: Any, version: int | None = None) -> Ask:
    """A call that fills a structure of the caller's."""

    def ask(gpu: Any) -> Any:
        filled = struct()
        if version is not None:
            filled.version = version
        getattr(n, f"nvmlDevice{verb}")(gpu, ctypes.byref(filled))
        return filled

    return ask


def raw(function: str, *rest: Any) -> Ask:
    """A call that pynvml itself would never make."""

    def ask(gpu: Any) -> None:
        n._nvmlCheckReturn(n._nvmlGetFunctionPointer(function)(gpu, *rest))

    return ask


def list_system() -> Iterator[tuple[str, Ask]]:
    for name in ("DriverVersion", "NVMLVersion", "CudaDriverVersion", "CudaDriverVersion_v2", "DriverBranch"):
        yield f"System {name}", lambda _, name=name: getattr(n, f"nvmlSystemGet{name}")()
    yield "System HicVersion", lambda _: n.nvmlSystemGetHicVersion()
    yield "System ProcessName of nobody", lambda _: n.nvmlSystemGetProcessName(4194303)
    yield "Count", lambda _: n.nvmlDeviceGetCount()
    yield "Unit Count", lambda _: n.nvmlUnitGetCount()


def list_handles() -> Iterator[tuple[str, Ask]]:
    yield "Handle by index", lambda _: n.nvmlDeviceGetHandleByIndex(0)
    yield "Handle by index, too high", lambda _: n.nvmlDeviceGetHandleByIndex(99)
    yield "Handle by UUID", lambda gpu: n.nvmlDeviceGetHandleByUUID(n.nvmlDeviceGetUUID(gpu))
    yield "Handle by UUID, unknown", lambda _: n.nvmlDeviceGetHandleByUUID("GPU-0badf00d-0000-0000-0000-000000000000")
    yield "Handle by serial", lambda gpu: n.nvmlDeviceGetHandleBySerial(n.nvmlDeviceGetSerial(gpu).encode())
    yield "Handle by serial, unknown", lambda _: n.nvmlDeviceGetHandleBySerial(b"1")
    yield "Handle by PCI", lambda gpu: n.nvmlDeviceGetHandleByPciBusId(n.nvmlDeviceGetPciInfo(gpu).busId)
    yield "Handle by PCI, unknown", lambda _: n.nvmlDeviceGetHandleByPciBusId("00000000:FE:00.0")
    yield "Handle by PCI, nonsense", lambda _: n.nvmlDeviceGetHandleByPciBusId("nonsense")


def list_arguments() -> Iterator[tuple[str, Ask]]:
    """Calls with one more argument: each value, and one that is too high."""
    for kind in range(5):
        yield f"ClockInfo {kind}", ask_device("GetClockInfo", kind)
        yield f"MaxClockInfo {kind}", ask_device("GetMaxClockInfo", kind)
        yield f"ApplicationsClock {kind}", ask_device("GetApplicationsClock", kind)
        yield f"DefaultApplicationsClock {kind}", ask_device("GetDefaultApplicationsClock", kind)
    for sensor in range(2):
        yield f"Temperature {sensor}", ask_device("GetTemperature", sensor)
        yield f"TemperatureV {sensor}", ask_device("GetTemperatureV", sensor)
    for threshold in range(9):
        yield f"TemperatureThreshold {threshold}", ask_device("GetTemperatureThreshold", threshold)
    for policy in range(13):
        yield f"ViolationStatus {policy}", ask_device("GetViolationStatus", policy)
    for counter in range(3):
        yield f"PcieThroughput {counter}", ask_device("GetPcieThroughput", counter)
        yield f"RetiredPages {counter}", ask_device("GetRetiredPages", counter)
        yield f"RetiredPages_v2 {counter}", ask_device("GetRetiredPages_v2", counter)
    for item in range(4):
        yield f"InforomVersion {item}", ask_device("GetInforomVersion", item)


def list_ecc() -> Iterator[tuple[str, Ask]]:
    for kind in range(3):
        for counter in range(3):
            yield f"TotalEccErrors {kind} {counter}", ask_device("GetTotalEccErrors", kind, counter)
            yield f"DetailedEccErrors {kind} {counter}", ask_device("GetDetailedEccErrors", kind, counter)
    for kind in range(2):
        for counter in range(2):
            for place in range(9):
                name = f"MemoryErrorCounter {kind} {counter} {place}"
                yield name, ask_device("GetMemoryErrorCounter", kind, counter, place)


def list_links() -> Iterator[tuple[str, Ask]]:
    for link in (0, 17, 18, 36):
        for verb in ("State", "Version", "RemotePciInfo", "RemoteDeviceType"):
            yield f"NvLink{verb} {link}", ask_device(f"GetNvLink{verb}", link)
    for capability in range(7):
        yield f"NvLinkCapability 0 {capability}", ask_device("GetNvLinkCapability", 0, capability)
    for counter in range(6):
        yield f"NvLinkErrorCounter 0 {counter}", ask_device("GetNvLinkErrorCounter", 0, counter)


def list_structures() -> Iterator[tuple[str, Ask]]:
    yield "MemoryInfo_v2", ask_device("GetMemoryInfo", n.nvmlMemory_v2)
    yield "MemoryInfo_v2, other version", ask_device("GetMemoryInfo", 0x09000028)
    yield "PciInfoExt", fill("GetPciInfoExt", n.nvmlPciInfoExt_v1_t, n.nvmlPciInfoExt_v1)
    yield "GpuFabricInfo", fill("GetGpuFabricInfo", n.c_nvmlGpuFabricInfo_t)
    yield "GpuFabricInfoV 2", fill("GetGpuFabricInfoV", n.c_nvmlGpuFabricInfo_v2_t)
    yield "GpuFabricInfoV 3", fill("GetGpuFabricInfoV", n.c_nvmlGpuFabricInfo_v3_t)
    yield "GpuFabricInfoV, other version", fill("GetGpuFabricInfoV", n.c_nvmlGpuFabricInfo_v2_t, 0x09000024)
    yield "SramEccErrorStatus", fill("GetSramEccErrorStatus", n.c_nvmlEccSramErrorStatus_v1_t)
    yield "SramEccErrorStatus, other version", fill("GetSramEccErrorStatus", n.c_nvmlEccSramErrorStatus_v1_t, 9 << 24)
    yield "PlatformInfo 1", fill("GetPlatformInfo", n.c_nvmlPlatformInfo_v1_t)
    yield "PlatformInfo 2", fill("GetPlatformInfo", n.c_nvmlPlatformInfo_v2_t)
    yield "ValidateInforom", ask_device("ValidateInforom")
    yield "P2PStatus with itself", lambda gpu: n.nvmlDeviceGetP2PStatus(gpu, gpu, n.NVML_P2P_CAPS_INDEX_READ)
    yield "TopologyCommonAncestor with itself", lambda gpu: n.nvmlDeviceGetTopologyCommonAncestor(gpu, gpu)
    yield "OnSameBoard with itself", lambda gpu: n.nvmlDeviceOnSameBoard(gpu, gpu)
    yield "Name into one byte", raw("nvmlDeviceGetName", ctypes.create_string_buffer(1), ctypes.c_uint(1))
    yield "Name into nowhere", raw("nvmlDeviceGetName", None, ctypes.c_uint(64))
    yield "PowerUsage into nowhere", raw("nvmlDeviceGetPowerUsage", None)
    yield "Name of no GPU", lambda _: n.nvmlDeviceGetName(None)


def wait(types: int, milliseconds: int) -> Ask:
    def ask(gpu: Any) -> Any:
        events = n.nvmlEventSetCreate()
        try:
            n.nvmlDeviceRegisterEvents(gpu, types, events)
            return n.nvmlEventSetWait_v2(events, milliseconds)
        finally:
            n.nvmlEventSetFree(events)

    return ask


def list_events() -> Iterator[tuple[str, Ask]]:
    yield "Events Xid", wait(n.nvmlEventTypeXidCriticalError, 20)
    yield "Events DBE", wait(n.nvmlEventTypeDoubleBitEccError, 20)
    yield "Events unknown", wait(1 << 40, 20)
    yield "Events, nobody registered", lambda _: n.nvmlEventSetWait_v2(n.nvmlEventSetCreate(), 20)


def list_mig() -> Iterator[tuple[str, Ask]]:
    """What can be asked of how a GPU is divided, or could be."""
    for number in (0, 4, 5, 7, 9, 99):
        yield f"MIG profile {number}", ask_device("GetGpuInstanceProfileInfo", number, 1)
        yield f"MIG profile {number} with its name", ask_device("GetGpuInstanceProfileInfo", number, 2)
    old = ctypes.byref(ctypes.c_uint(9))
    yield "MIG profile of another version", raw("nvmlDeviceGetGpuInstanceProfileInfoV", 0, old)
    for profile in (19, 0, 77):
        count = ctypes.c_uint(0)
        yield f"MIG places of {profile}", raw(f"{PLACES}_v2", ctypes.c_uint(profile), None, ctypes.byref(count))
    yield "MIG device 0", ask_device("GetMigDeviceHandleByIndex", 0)
    yield "MIG is a device", ask_device("IsMigDeviceHandle")
    instances, room = (n.c_nvmlGpuInstance_t * 7)(), ctypes.c_uint(7)
    yield "MIG instances", ask_device("GetGpuInstances", 19, instances, ctypes.byref(room))


def list_calls() -> Iterator[tuple[str, Ask]]:
    yield from list_system()
    yield from list_handles()
    for verb in WORDS.split():
        yield verb, ask_device(f"Get{verb}")
    for part in (list_arguments, list_ecc, list_links, list_structures, list_events, list_mig):
        yield from part()


def name_type(value: Any) -> str:
    """int, str, list[int], or a structure's name."""
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}[{', '.join(sorted({name_type(one) for one in value}))}]"
    return type(value).__name__


def show(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, ctypes.Structure):
        return {name: show(getattr(value, name)) for name, *_ in value._fields_}
    if isinstance(value, ctypes.Array | list | tuple):
        return [show(one) for one in value]
    return value if isinstance(value, int | float | str | None) else repr(value)


def answer(ask: Ask, gpu: Any, *, values: bool) -> dict[str, Any]:
    try:
        value = ask(gpu)
    except n.NVMLError as error:
        return {"code": error.value}
    except (ctypes.ArgumentError, n.NVMLLibraryMismatchError) as error:
        return {"raises": type(error).__name__}
    return {"code": 0, "type": name_type(value), **({"value": show(value)} if values else {})}


def ask_fields(gpu: Any, *, values: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each field alone; those of a link once more with the number of a link."""
    asked = [(f"field {field}", (field, 0)) for field in FIELDS]
    asked += [(f"field {field} of link 5", (field, 5)) for field in OF_A_LINK]
    for name, field in asked:
        one = n.nvmlDeviceGetFieldValues(gpu, [field])[0]
        value = {"value": one.value.ullVal} if values else {}
        yield name, {"code": 0, "type": int(one.valueType), **value} if not one.nvmlReturn else {"code": one.nvmlReturn}


def compare(*, values: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """(question, {code, type, value?}) of GPU 0; whose library it was comes first."""

    def count(_: Any) -> Any:
        return n.nvmlDeviceGetCount()

    n.nvmlInit()
    gpu = n.nvmlDeviceGetHandleByIndex(0)
    yield "about", {"driver": n.nvmlSystemGetDriverVersion(), "name": n.nvmlDeviceGetName(gpu)}
    for name, ask in list_calls():
        yield name, answer(ask, gpu, values=values)
    yield from ask_fields(gpu, values=values)
    n.nvmlShutdown()
    yield "Count after shutdown", answer(count, None, values=values)
    yield "shutdown again", answer(lambda _: n.nvmlShutdown(), None, values=values)


if __name__ == "__main__":
    for name, said in compare(values="--values" in sys.argv):
        print(json.dumps({"ask": name, **said}), flush=True)  # one line each: a crash shows where
