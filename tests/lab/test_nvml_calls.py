"""Every function of the simulated library: asked, made to fail alone, and compared with a real H100's answers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dsops.lab import gpus
from dsops.lab.cards import get_calls, list_profiles
from dsops.lab.place import Server

from tests.lab.conftest import ROOT, env_of
from tests.lab.test_nvml import exports

REAL = Path(__file__).with_name("h100_answers.jsonl")
ONE = Server("gpu1", 11, gpus=1)
# What the catalogue of health checks needs, less what no serving node asks (the 32 calls of a smallest agent included).
NEEDED = """
nvmlInitWithFlags nvmlInit_v2 nvmlShutdown nvmlErrorString nvmlSystemGetDriverVersion nvmlSystemGetNVMLVersion
nvmlSystemGetCudaDriverVersion_v2 nvmlDeviceGetCount_v2 nvmlDeviceGetHandleByIndex_v2 nvmlDeviceGetName
nvmlDeviceGetUUID nvmlDeviceGetPciInfo_v3 nvmlDeviceGetMemoryInfo nvmlDeviceGetUtilizationRates
nvmlDeviceGetTemperature nvmlDeviceGetPowerUsage nvmlDeviceGetClockInfo nvmlDeviceGetCurrentClocksEventReasons
nvmlDeviceGetEccMode nvmlDeviceGetTotalEccErrors nvmlDeviceGetRemappedRows nvmlDeviceGetCurrPcieLinkGeneration
nvmlDeviceGetMaxPcieLinkGeneration nvmlDeviceGetCurrPcieLinkWidth nvmlDeviceGetMaxPcieLinkWidth
nvmlDeviceGetPcieReplayCounter nvmlDeviceGetNvLinkState nvmlDeviceGetPersistenceMode nvmlDeviceGetFieldValues
nvmlEventSetCreate nvmlDeviceRegisterEvents nvmlEventSetWait_v2 nvmlEventSetFree nvmlDeviceGetHandleByUUID
nvmlDeviceGetHandleByPciBusId_v2 nvmlDeviceGetHandleBySerial nvmlDeviceGetSerial nvmlDeviceGetMinorNumber
nvmlDeviceGetIndex nvmlDeviceGetArchitecture nvmlDeviceGetCudaComputeCapability nvmlDeviceGetVbiosVersion
nvmlDeviceGetInforomImageVersion nvmlDeviceValidateInforom nvmlDeviceGetMemoryInfo_v2
nvmlDeviceGetTemperatureThreshold nvmlDeviceGetTemperatureV nvmlDeviceGetMarginTemperature
nvmlDeviceGetEnforcedPowerLimit nvmlDeviceGetPowerManagementLimit nvmlDeviceGetTotalEnergyConsumption
nvmlDeviceGetMaxClockInfo nvmlDeviceGetApplicationsClock nvmlDeviceGetPerformanceState
nvmlDeviceGetCurrentClocksThrottleReasons nvmlDeviceGetSupportedClocksEventReasons nvmlDeviceGetViolationStatus
nvmlDeviceGetMemoryErrorCounter nvmlDeviceGetSramEccErrorStatus nvmlDeviceGetRowRemapperHistogram
nvmlDeviceGetRetiredPages nvmlDeviceGetRetiredPagesPendingStatus nvmlDeviceGetGpuMaxPcieLinkGeneration
nvmlDeviceGetPcieThroughput nvmlDeviceGetPcieSpeed nvmlDeviceGetNvLinkErrorCounter nvmlDeviceGetNvLinkCapability
nvmlDeviceGetNvLinkVersion nvmlDeviceGetNvLinkRemotePciInfo_v2 nvmlDeviceGetNvLinkRemoteDeviceType
nvmlDeviceGetGpuFabricInfo nvmlDeviceGetGpuFabricInfoV nvmlDeviceGetP2PStatus nvmlDeviceGetTopologyCommonAncestor
nvmlDeviceGetComputeRunningProcesses_v3 nvmlSystemGetProcessName nvmlDeviceGetMigMode nvmlDeviceGetComputeMode
nvmlDeviceGetNumaNodeId nvmlDeviceGetGspFirmwareVersion nvmlDeviceGetSupportedEventTypes nvmlDeviceGetRepairStatus
nvmlDeviceGetPlatformInfo nvmlDeviceGetBoardPartNumber
"""
# Asks every question, and notes which functions of the library it went through.
SPY = """
import json, sys
import pynvml as n
from dsops.lab import gpus
from pathlib import Path
from tests.lab import compare_nvml as c
calls, find = [], n._nvmlGetFunctionPointer
def spy(name):
    calls.append(name)
    return find(name)
n._nvmlGetFunctionPointer = spy
n.nvmlInit()
gpu = n.nvmlDeviceGetHandleByIndex(0)
folder, faults = Path(sys.argv[1]), json.loads(sys.argv[2])
for which in ("driver", 0):
    gpus.change(folder, which, faults)
print(json.dumps({"ask": "init", "calls": calls, "code": 0}))
for name, ask in c.list_calls():
    calls.clear()
    said = c.answer(ask, gpu, values=False)
    print(json.dumps({"ask": name, "calls": calls, **said}))
calls.clear()
try:
    n.nvmlDeviceGetFieldValues(gpu, [1])
    print(json.dumps({"ask": "fields", "calls": calls, "code": 0}))
except n.NVMLError as error:
    print(json.dumps({"ask": "fields", "calls": calls, "code": error.value}))
"""
# They read no file: nothing can make them fail.
NEVER_FAIL = {"nvmlInitWithFlags", "nvmlInit_v2", "nvmlShutdown", "nvmlErrorString", "nvmlEventSetFree"}
# pynvml asks the first by another name, and cannot ask the second: its number of the first kind is a tuple.
NOT_ASKED = {"nvmlEventSetWait", "nvmlDeviceGetP2PStatus"}
# They change a GPU, or need one that is divided: test_nvml_mig.py asks them.
OF_DIVIDED = {
    "nvmlComputeInstanceDestroy",
    "nvmlDeviceCreateGpuInstanceWithPlacement",
    "nvmlDeviceGetComputeInstanceId",
    "nvmlDeviceGetDeviceHandleFromMigDeviceHandle",
    "nvmlDeviceGetGpuInstanceId",
    "nvmlDeviceSetMigMode",
    "nvmlGpuInstanceCreateComputeInstance",
    "nvmlGpuInstanceDestroy",
    "nvmlGpuInstanceGetComputeInstanceProfileInfo",
    "nvmlGpuInstanceGetComputeInstances",
    "nvmlGpuInstanceGetInfo",
}
WRONG_FIRST = {"Name of no GPU", "Handle by PCI, nonsense"}  # judged by their arguments before any file is read
OTHERWISE = {
    # question: (the real one's code, ours, why)
    "ClockInfo 4": (3, 2, "of a clock past the last, the real one says: not supported; all its sisters: no argument"),
    "field 147": (0, 3, "without links, the real one counts 0 of them in a number without a type"),
    **{
        f"field {number}": (3, 2, "of a card to come: the real one has heard of it")
        for number in (*range(275, 289), 294, 295)
    },
}


def ask_all(library: Path, folder: Path, *argv: str) -> dict[str, dict[str, Any]]:
    run = subprocess.run(
        [sys.executable, *argv], env=env_of(library, folder), capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    return parse(run.stdout)


def parse(text: str) -> dict[str, dict[str, Any]]:
    answers = [json.loads(line) for line in text.splitlines()]
    return {answer.pop("ask"): answer for answer in answers}


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """One H100 as the real one was: in a virtual machine, without its links."""
    gpus.reset(tmp_path / "gpus", ONE)
    links = {key: None for key in gpus.read_gpu(tmp_path / "gpus", 0) if key.startswith("nvlink")}
    gpus.change(tmp_path / "gpus", 0, {**links, "fabric_state": 0, "topology": None, "p2p": None})
    return tmp_path / "gpus"


def test_it_exports_what_health_checks_need_and_nothing_of_its_own(library: Path) -> None:
    found = exports(library)
    assert set(NEEDED.split()) <= found
    assert {name for name in found if not name.startswith("nvml")} == set()
    assert found | {"nvmlInit"} == get_calls()


def test_each_function_fails_alone_as_its_own_line_says(library: Path, folder: Path) -> None:
    functions = sorted(exports(library) - NEVER_FAIL)
    create = {"nvmlEventSetCreate", "nvmlDeviceRegisterEvents"}  # on the way to others
    seen: set[str] = set()
    for on_the_way in (set(), {"nvmlEventSetCreate"}, create):
        codes = {name: 1000 + index for index, name in enumerate(functions) if name not in on_the_way}
        faults = {f"return.{name}": code for name, code in codes.items()}
        gpus.reset(folder, ONE)
        for name, answer in ask_all(library, folder, "-c", SPY, str(folder), json.dumps(faults)).items():
            seen |= set(answer["calls"])
            failing = [call for call in answer["calls"] if call in codes]
            if failing and name not in {*WRONG_FIRST, "init"} and "raises" not in answer:
                assert answer.get("code") == codes[failing[0]], (name, answer)
    assert set(functions) - seen <= NOT_ASKED | OF_DIVIDED


def test_it_answers_as_a_real_h100_does(library: Path, alone: Path) -> None:
    real, ours = parse(REAL.read_text()), ask_all(library, alone, str(ROOT / "tests/lab/compare_nvml.py"))
    assert real.pop("about") == ours.pop("about")
    assert set(real) == set(ours)
    differing = {name: (real[name], ours[name]) for name in real if real[name] != ours[name]}
    assert {name: (one["code"], other["code"]) for name, (one, other) in differing.items()} == {
        name: codes[:2] for name, codes in OTHERWISE.items()
    }


@pytest.mark.parametrize("profile", list_profiles())
def test_every_question_is_answered_for_every_profile(library: Path, folder: Path, profile: str) -> None:
    gpus.reset(folder, ONE, profile=profile)
    answers = ask_all(library, folder, str(ROOT / "tests/lab/compare_nvml.py"), "--values")
    assert answers.pop("about")["name"] == gpus.read_gpu(folder, 0)["name"]
    assert {answer["code"] for answer in answers.values() if "code" in answer} <= {0, 1, 2, 3, 6, 7, 10, 13, 25}
    lacks = {name for name, answer in answers.items() if answer.get("code") == 3}
    assert ("RemappedRows" in lacks, "NvLinkState 0" in lacks) == ((profile == "t4"),) * 2
    assert ("GpuFabricInfo" in lacks, "MarginTemperature" in lacks) == ((profile != "h100"),) * 2
    assert ("RetiredPages 0" in lacks) == (profile != "t4")
    assert not lacks & {"Name", "UUID", "MemoryInfo", "Temperature 0", "PowerUsage", "EccMode", "TotalEccErrors 1 0"}
