"""The simulated libnvidia-ml.so.1, judged by pynvml as the agent uses it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab import gpus
from dsops.lab.place import Server

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc builds the simulated library")
SERVER = Server("gpu1", 11, gpus=2)
# The smallest set that a health agent on pynvml needs.
MINIMUM = """
nvmlInitWithFlags nvmlShutdown nvmlErrorString nvmlSystemGetDriverVersion nvmlSystemGetNVMLVersion
nvmlSystemGetCudaDriverVersion_v2 nvmlDeviceGetCount_v2 nvmlDeviceGetHandleByIndex_v2 nvmlDeviceGetName
nvmlDeviceGetUUID nvmlDeviceGetPciInfo_v3 nvmlDeviceGetMemoryInfo nvmlDeviceGetUtilizationRates
nvmlDeviceGetTemperature nvmlDeviceGetPowerUsage nvmlDeviceGetClockInfo nvmlDeviceGetCurrentClocksEventReasons
nvmlDeviceGetEccMode nvmlDeviceGetTotalEccErrors nvmlDeviceGetRemappedRows nvmlDeviceGetCurrPcieLinkGeneration
nvmlDeviceGetMaxPcieLinkGeneration nvmlDeviceGetCurrPcieLinkWidth nvmlDeviceGetMaxPcieLinkWidth
nvmlDeviceGetPcieReplayCounter nvmlDeviceGetNvLinkState nvmlDeviceGetPersistenceMode nvmlDeviceGetFieldValues
nvmlEventSetCreate nvmlDeviceRegisterEvents nvmlEventSetWait_v2 nvmlEventSetFree
"""
# A process that answers one Python expression a line: "value" or the error's code.
READER = """
import json, sys, time
import pynvml as n
names = {"n": n, "h": None, "time": time}
for line in sys.stdin:
    try:
        value = eval(line, names)
        names["h"] = value if "HandleByIndex" in line else names["h"]
        if "EventSetCreate" in line: names["s"] = value
        print(json.dumps({"value": value}, default=str), flush=True)
    except n.NVMLError as error:
        print(json.dumps({"code": error.value, "text": str(error)}), flush=True)
"""


class Reader:
    def __init__(self, library: Path, folder: Path) -> None:
        env = {**os.environ, "LD_LIBRARY_PATH": str(library.parent), "DSOPS_LAB_GPUS": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", READER], env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, expression: str) -> dict[str, object]:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{expression}\n")
        self.process.stdin.flush()
        answer: dict[str, object] = json.loads(self.process.stdout.readline())
        return answer

    def value(self, expression: str) -> object:
        return self.ask(expression)["value"]

    def code(self, expression: str) -> object:
        return self.ask(expression)["code"]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gpus.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    gpus.reset(tmp_path, SERVER)
    return tmp_path


@pytest.fixture
def reader(library: Path, folder: Path) -> Iterator[Reader]:
    one = Reader(library, folder)
    one.ask("n.nvmlInit()")
    one.ask("n.nvmlDeviceGetHandleByIndex(0)")
    yield one
    one.close()


def exports(library: Path) -> set[str]:
    lines = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in lines.splitlines()}


def test_it_exports_the_minimum_and_nothing_of_its_own(library: Path) -> None:
    minimum = set(MINIMUM.split())
    assert len(minimum) == 32
    assert exports(library) == minimum | {"nvmlInit_v2", "nvmlSystemGetCudaDriverVersion"}


def test_building_again_does_nothing(library: Path) -> None:
    before = library.stat().st_mtime_ns
    assert gpus.build(library.parents[1]) == library
    assert library.stat().st_mtime_ns == before


def test_healthy_gpus_answer_every_question(reader: Reader) -> None:
    assert reader.value("n.nvmlDeviceGetCount()") == 2
    assert reader.value("n.nvmlSystemGetDriverVersion()") == "570.86.15"
    assert reader.value("n.nvmlSystemGetNVMLVersion()") == "12.570.86.15"
    assert reader.value("n.nvmlSystemGetCudaDriverVersion_v2()") == 12080
    assert reader.value("n.nvmlDeviceGetName(h)") == "NVIDIA H100 80GB HBM3"
    assert reader.value("n.nvmlDeviceGetUUID(h)") == "GPU-1ab00000-0000-4000-8000-000b00000000"
    assert reader.value("n.nvmlDeviceGetPciInfo(h).busId") == "00000000:10:00.0"
    assert reader.value("n.nvmlDeviceGetMemoryInfo(h).total") == 85520809984
    assert reader.value("n.nvmlDeviceGetMemoryInfo(h).free") == 85520809984
    assert reader.value("n.nvmlDeviceGetUtilizationRates(h).gpu") == 0
    assert reader.value("n.nvmlDeviceGetTemperature(h, 0)") == 34
    assert reader.value("n.nvmlDeviceGetPowerUsage(h)") == 70000
    assert reader.value("[n.nvmlDeviceGetClockInfo(h, kind) for kind in (1, 2)]") == [1980, 2619]
    assert reader.value("n.nvmlDeviceGetCurrentClocksEventReasons(h)") == 0
    assert reader.value("n.nvmlDeviceGetEccMode(h)") == [1, 1]
    assert reader.value("n.nvmlDeviceGetTotalEccErrors(h, 1, 0)") == 0
    assert reader.value("n.nvmlDeviceGetRemappedRows(h)") == [0, 0, 0, 0]
    assert reader.value("n.nvmlDeviceGetCurrPcieLinkGeneration(h)") == 5
    assert reader.value("n.nvmlDeviceGetMaxPcieLinkGeneration(h)") == 5
    assert reader.value("n.nvmlDeviceGetCurrPcieLinkWidth(h)") == 16
    assert reader.value("n.nvmlDeviceGetMaxPcieLinkWidth(h)") == 16
    assert reader.value("n.nvmlDeviceGetPcieReplayCounter(h)") == 0
    assert reader.value("n.nvmlDeviceGetPersistenceMode(h)") == 1
    assert reader.value("n.nvmlDeviceGetNvLinkState(h, 17)") == 1
    assert reader.code("n.nvmlDeviceGetNvLinkState(h, 18)") == 2
    assert reader.value("n.nvmlDeviceGetFieldValues(h, [230])[0].value.ullVal") == 0
    assert reader.value("n.nvmlShutdown()") is None
    assert reader.code("n.nvmlDeviceGetCount()") == 1


def test_a_running_process_sees_each_change(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 0, {"temperature": 91, "memory_used": 80 << 30, "recovery_action": 2})
    assert reader.value("n.nvmlDeviceGetTemperature(h, 0)") == 91
    assert reader.value("n.nvmlDeviceGetMemoryInfo(h).used") == 80 << 30
    assert reader.value("n.nvmlDeviceGetFieldValues(h, [230])[0].value.ullVal") == 2
    gpus.change(folder, 0, {"temperature": None})
    assert reader.value("n.nvmlDeviceGetTemperature(h, 0)") == 35


def test_a_lost_gpu_fails_while_its_neighbour_works(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 0, {"return": 15})
    assert reader.code("n.nvmlDeviceGetName(h)") == 15
    assert reader.code("n.nvmlDeviceGetHandleByIndex(0)") == 15
    reader.ask("n.nvmlDeviceGetHandleByIndex(1)")
    assert reader.value("n.nvmlDeviceGetName(h)") == "NVIDIA H100 80GB HBM3"


def test_a_gpu_whose_file_vanished_is_lost(reader: Reader, folder: Path) -> None:
    (folder / "gpu0.conf").unlink()
    assert reader.code("n.nvmlDeviceGetName(h)") == 15


def test_fewer_gpus_in_the_middle_of_a_run_are_seen(reader: Reader, folder: Path) -> None:
    gpus.change(folder, "driver", {"count": 0})
    assert reader.value("n.nvmlDeviceGetCount()") == 0
    assert reader.code("n.nvmlDeviceGetHandleByIndex(0)") == 2
    assert reader.code("n.nvmlDeviceGetTemperature(h, 0)") == 15


@pytest.mark.parametrize("code", [3, 9, 15, 16, 18, 27, 999])
def test_one_call_alone_returns_the_code_it_is_told(reader: Reader, folder: Path, code: int) -> None:
    gpus.change(folder, 0, {"return.nvmlDeviceGetPowerUsage": code})
    assert reader.code("n.nvmlDeviceGetPowerUsage(h)") == code
    assert reader.value("n.nvmlDeviceGetTemperature(h, 0)") == 34


def test_a_driver_that_does_not_load_fails_at_init(library: Path, folder: Path) -> None:
    gpus.change(folder, "driver", {"return.nvmlInit": 18})
    one = Reader(library, folder)
    try:
        assert one.code("n.nvmlInit()") == 18
        gpus.change(folder, "driver", {"return.nvmlInit": None})
        assert one.value("n.nvmlInit()") is None
    finally:
        one.close()


def test_a_call_hangs_as_long_as_told(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 0, {"hang.nvmlDeviceGetTemperature": 0.4})
    begin = time.monotonic()
    assert reader.value("n.nvmlDeviceGetTemperature(h, 0)") == 34
    assert 0.4 <= time.monotonic() - begin < 2
    begin = time.monotonic()
    assert reader.value("n.nvmlDeviceGetPowerUsage(h)") == 70000
    assert time.monotonic() - begin < 0.3


def test_an_endless_hang_ends_when_the_file_says_so(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 0, {"hang": -1})
    assert reader.process.stdin
    assert reader.process.stdout
    reader.process.stdin.write("n.nvmlDeviceGetName(h)\n")
    reader.process.stdin.flush()
    time.sleep(0.3)
    gpus.change(folder, 0, {"hang": None})
    assert json.loads(reader.process.stdout.readline())["value"] == "NVIDIA H100 80GB HBM3"


def test_a_function_that_an_older_driver_lacks_is_not_found(folder: Path, tmp_path: Path) -> None:
    old = gpus.build(tmp_path / "old", without=("nvmlDeviceGetRemappedRows",))
    assert "nvmlDeviceGetRemappedRows" not in exports(old)
    one = Reader(old, folder)
    try:
        one.ask("n.nvmlInit()")
        one.ask("n.nvmlDeviceGetHandleByIndex(0)")
        assert one.code("n.nvmlDeviceGetRemappedRows(h)") == 13
        assert one.value("n.nvmlDeviceGetTemperature(h, 0)") == 34
    finally:
        one.close()


def test_an_xid_is_told_once_to_who_waits_for_it(reader: Reader, folder: Path) -> None:
    reader.ask("n.nvmlEventSetCreate()")
    # pynvml's handles cannot cross lines as JSON, so the set lives in the reader as `s`.
    assert reader.value("n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError, s)") is None
    assert reader.code("n.nvmlEventSetWait_v2(s, 50)") == 10
    gpus.raise_xid(folder, 0, 79)
    assert reader.value("n.nvmlEventSetWait_v2(s, 500).eventData") == 79
    assert reader.code("n.nvmlEventSetWait_v2(s, 50)") == 10
    gpus.raise_xid(folder, 0, 79)
    assert reader.value("n.nvmlEventSetWait_v2(s, 500).eventData") == 79


def test_changing_a_gpu_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(DsopsError, match="no simulated gpu7"):
        gpus.change(folder, 7, {"temperature": 1})


def test_a_reset_makes_all_healthy_again(folder: Path) -> None:
    gpus.change(folder, 1, {"return": 15})
    gpus.reset(folder, SERVER)
    assert "return" not in gpus.parse((folder / "gpu1.conf").read_text())
    assert gpus.count(folder) == 2
