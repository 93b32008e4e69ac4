"""The simulated libnvidia-ml.so.1, judged by pynvml as the agent uses it: healthy, failing, hanging, changing."""

import subprocess
import time
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab import gpus

from tests.lab.conftest import SERVER, Reader

POWER = "n.nvmlDeviceGetPowerUsage(h)"
NAME = "n.nvmlDeviceGetName(h)"
TEMPERATURE = "n.nvmlDeviceGetTemperature(h, 0)"
ECC = "n.nvmlDeviceGetTotalEccErrors(h, {kind}, {counter})"
CORRECTED, UNCORRECTED, VOLATILE, AGGREGATE, DRAM, SRAM = 0, 1, 0, 1, 2, 7


def exports(library: Path) -> set[str]:
    lines = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in lines.splitlines()}


def test_building_again_does_nothing(library: Path) -> None:
    before = library.stat().st_mtime_ns
    assert gpus.build(library.parents[1]) == library
    assert library.stat().st_mtime_ns == before


def test_healthy_gpus_answer_as_their_profile_says(reader: Reader) -> None:
    assert reader.value("n.nvmlDeviceGetCount()") == 2
    assert reader.value("n.nvmlSystemGetDriverVersion()") == "580.159.04"
    assert reader.value("n.nvmlSystemGetNVMLVersion()") == "13.580.159.04"
    assert reader.value("n.nvmlSystemGetCudaDriverVersion_v2()") == 13000
    assert reader.value("n.nvmlSystemGetDriverBranch().branch") == "r582_49"
    assert reader.value(NAME) == "NVIDIA H100 80GB HBM3"
    assert reader.value("n.nvmlDeviceGetUUID(h)") == "GPU-1ab00000-0000-4000-8000-000b00000000"
    assert reader.value("n.nvmlDeviceGetSerial(h)") == "1650001100000"
    assert reader.value("n.nvmlDeviceGetVbiosVersion(h)") == "96.00.DA.00.0C"
    assert reader.value("n.nvmlDeviceGetPciInfo(h).busId") == "00000000:10:00.0"
    assert reader.value("n.nvmlDeviceGetMemoryInfo(h)") == {
        "total": 85520809984,
        "free": 85017493504,
        "used": 503316480,
    }
    assert reader.value("n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2).used") == 0
    assert reader.value(TEMPERATURE) == 34
    assert reader.value("n.nvmlDeviceGetMarginTemperature(h)") == 87 - 34
    assert reader.value("[n.nvmlDeviceGetTemperatureThreshold(h, i) for i in range(4)]") == [95, 89, 95, 87]
    assert reader.value(POWER) == 71000
    assert reader.value("[n.nvmlDeviceGetClockInfo(h, kind) for kind in range(4)]") == [345, 345, 2619, 765]
    assert reader.value("n.nvmlDeviceGetCurrentClocksEventReasons(h)") == 1
    assert reader.value("n.nvmlDeviceGetRemappedRows(h)") == [0, 0, 0, 0]
    assert reader.value("n.nvmlDeviceGetRowRemapperHistogram(h)") == {
        "max": 2560,
        "high": 0,
        "partial": 0,
        "low": 0,
        "none": 0,
    }
    assert reader.field(230) == 0
    assert reader.value("n.nvmlShutdown()") is None
    assert reader.code("n.nvmlDeviceGetCount()") == 1


def test_a_gpu_is_found_by_what_it_is(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 1, {"pci_domain": 2})
    for handle in (
        "n.nvmlDeviceGetHandleByUUID('GPU-1ab00000-0000-4000-8000-000b00000001')",
        "n.nvmlDeviceGetHandleBySerial(b'1650001100001')",
        "n.nvmlDeviceGetHandleByPciBusId('00000002:11:00.0')",
    ):
        reader.ask("n.nvmlDeviceGetHandleByIndex(0)")
        reader.ask(handle)
        assert reader.value("n.nvmlDeviceGetIndex(h)") == 1
    assert reader.code("n.nvmlDeviceGetHandleByPciBusId('00000000:11:00.0')") == 6
    gpus.change(folder, 1, {"return": 15})
    assert reader.code("n.nvmlDeviceGetHandleByUUID('GPU-1ab00000-0000-4000-8000-000b00000001')") == 15


def test_a_running_process_sees_each_change(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 0, {"temperature": 91, "memory_used": 80 << 30, "recovery_action": 2})
    assert reader.value(TEMPERATURE) == 91
    assert reader.value("n.nvmlDeviceGetMarginTemperature(h)") == 87 - 91
    assert reader.value("n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2).used") == 80 << 30
    assert reader.field(230) == 2
    gpus.change(folder, 0, {"temperature": None})
    assert reader.code(TEMPERATURE) == 3


def test_a_lost_gpu_fails_while_its_neighbour_works(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 0, {"return": 15})
    assert reader.code(NAME) == 15
    assert reader.code("n.nvmlDeviceGetHandleByIndex(0)") == 15
    reader.ask("n.nvmlDeviceGetHandleByIndex(1)")
    assert reader.value(NAME) == "NVIDIA H100 80GB HBM3"


def test_a_gpu_whose_file_vanished_is_lost(reader: Reader, folder: Path) -> None:
    (folder / "gpu0.conf").unlink()
    assert reader.code(NAME) == 15


def test_fewer_gpus_in_the_middle_of_a_run_are_seen(reader: Reader, folder: Path) -> None:
    gpus.change(folder, "driver", {"count": 0})
    assert reader.value("n.nvmlDeviceGetCount()") == 0
    assert reader.code("n.nvmlDeviceGetHandleByIndex(0)") == 2
    assert reader.code(TEMPERATURE) == 15


@pytest.mark.parametrize("code", [3, 9, 15, 16, 18, 27, 999])
def test_one_call_alone_returns_the_code_it_is_told(reader: Reader, folder: Path, code: int) -> None:
    gpus.change(folder, 0, {"return.nvmlDeviceGetPowerUsage": code})
    assert reader.code(POWER) == code
    assert reader.value(TEMPERATURE) == 34


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
    assert reader.value(TEMPERATURE) == 34
    assert time.monotonic() - begin >= 0.4
    gpus.change(folder, 0, {"hang.nvmlDeviceGetTemperature": 600})
    assert reader.value(POWER) == 71000  # another call does not wait


def test_an_endless_hang_ends_when_the_file_says_so(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 0, {"hang": -1})
    reader.send(NAME)
    time.sleep(0.3)
    gpus.change(folder, 0, {"hang": None})
    assert reader.receive()["value"] == "NVIDIA H100 80GB HBM3"


def test_a_function_that_an_older_driver_lacks_is_not_found(folder: Path, tmp_path: Path, library: Path) -> None:
    old = gpus.build(tmp_path / "old", without=("nvmlDeviceGetRemappedRows",))
    assert "nvmlDeviceGetRemappedRows" in exports(library) - exports(old)
    one = Reader(old, folder)
    try:
        one.ask("n.nvmlInit()")
        one.ask("n.nvmlDeviceGetHandleByIndex(0)")
        assert one.code("n.nvmlDeviceGetRemappedRows(h)") == 13
        assert one.value(TEMPERATURE) == 34
    finally:
        one.close()


# --- counters ---


def test_a_counter_grows_with_nobody_to_write_it(reader: Reader, folder: Path) -> None:
    corrected = ECC.format(kind=CORRECTED, counter=VOLATILE)
    now = time.time()
    begun = round(now - 10, 3)  # as the file tells it
    gpus.change(folder, 0, {"ecc_corrected": f"7+1000@{begun:.3f}"})
    value = reader.value(corrected)
    assert isinstance(value, int)
    assert 10_000 <= value <= 8 + 1000 * (time.time() - begun)
    time.sleep(0.01)
    later = reader.value(corrected)
    assert isinstance(later, int)
    assert later > value
    gpus.change(folder, 0, {"ecc_corrected": f"7+1000@{now + 3600:.3f}"})
    assert reader.value(corrected) == 7  # begins in an hour
    gpus.change(folder, 0, {"ecc_corrected": f"7+0.001@{time.time() - 5500:.3f}"})
    assert reader.value(corrected) == 12


def test_python_reads_a_growing_counter_as_the_library_does(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 0, {"ecc_corrected": f"7+0.001@{time.time() - 5500:.3f}", "pcie_width": "0x8"})
    assert gpus.read_number(folder, 0, "ecc_corrected") == 12
    assert reader.value(ECC.format(kind=CORRECTED, counter=VOLATILE)) == 12
    assert gpus.read_number(folder, 0, "pcie_width") == reader.value("n.nvmlDeviceGetCurrPcieLinkWidth(h)") == 8


def test_memory_errors_are_told_by_place_and_by_age(reader: Reader, folder: Path) -> None:
    gpus.change(folder, 0, {"ecc_uncorrected": 5, "ecc_uncorrected.sram": 2, "ecc_uncorrected_total": 40})
    assert reader.value(ECC.format(kind=UNCORRECTED, counter=VOLATILE)) == 5
    assert reader.value(ECC.format(kind=UNCORRECTED, counter=AGGREGATE)) == 40
    by_place = "n.nvmlDeviceGetMemoryErrorCounter(h, 1, {counter}, {place})"
    assert reader.value(by_place.format(counter=VOLATILE, place=DRAM)) == 3
    assert reader.value(by_place.format(counter=VOLATILE, place=SRAM)) == 2
    assert reader.value(by_place.format(counter=AGGREGATE, place=DRAM)) == 38
    assert reader.code(by_place.format(counter=VOLATILE, place=0)) == 3
    assert reader.value("n.nvmlDeviceGetDetailedEccErrors(h, 1, 0).deviceMemory") == 3
    assert [reader.field(number) for number in (3, 4, 5, 6)] == [0, 5, 0, 40]
    status = "[s := n.c_nvmlEccSramErrorStatus_v1_t(), n.nvmlDeviceGetSramEccErrorStatus(h, n.byref(s)), s][2]"
    found = reader.value(status)
    assert isinstance(found, dict)
    assert (found["volatileUncSecDed"], found["aggregateUncSecDed"], found["bThresholdExceeded"]) == (2, 2, 0)


def test_processes_are_listed(reader: Reader, folder: Path) -> None:
    assert reader.value("n.nvmlDeviceGetComputeRunningProcesses(h)") == []
    gpus.change(folder, 0, {f"process.{reader.process.pid}": 1 << 30, "process.4194303": 5})
    found = "[(p.pid, p.usedGpuMemory) for p in n.nvmlDeviceGetComputeRunningProcesses(h)]"
    assert reader.value(found) == [[reader.process.pid, 1 << 30], [4194303, 5]]
    assert "python" in str(reader.value(f"n.nvmlSystemGetProcessName({reader.process.pid})"))
    assert reader.code("n.nvmlSystemGetProcessName(4194303)") == 6


def test_older_cards_retire_pages(reader: Reader, folder: Path) -> None:
    gpus.reset(folder, SERVER, profile="t4")
    gpus.change(folder, 0, {"retired_dbe": 3, "retired_pending": 1})
    assert reader.value("len(n.nvmlDeviceGetRetiredPages(h, 1))") == 3
    assert reader.value("len(n.nvmlDeviceGetRetiredPages_v2(h, 1))") == 3
    assert reader.value("n.nvmlDeviceGetRetiredPages(h, 0)") == []
    assert reader.value("n.nvmlDeviceGetRetiredPagesPendingStatus(h)") == 1
    assert [reader.field(number) for number in (29, 30, 31)] == [0, 3, 1]


# --- links and fabric ---


def test_links_are_up_down_and_count_errors(reader: Reader, folder: Path) -> None:
    assert reader.value("[n.nvmlDeviceGetNvLinkState(h, i) for i in range(18)]") == [1] * 18
    assert reader.code("n.nvmlDeviceGetNvLinkState(h, 18)") == 2
    gpus.change(folder, 0, {"nvlink.3": 0, "nvlink.3.replay": 11, "nvlink.3.crc_flit": 12})
    assert reader.value("n.nvmlDeviceGetNvLinkState(h, 3)") == 0
    assert reader.value("[n.nvmlDeviceGetNvLinkErrorCounter(h, 3, i) for i in range(5)]") == [11, 0, 12, 0, 0]
    assert reader.value("n.nvmlDeviceGetNvLinkVersion(h, 0)") == 6
    assert reader.value("n.nvmlDeviceGetNvLinkRemoteDeviceType(h, 0)") == 2
    buses = "sorted({n.nvmlDeviceGetNvLinkRemotePciInfo(h, i).bus for i in range(18)})"
    assert reader.value(buses) == [0xC0, 0xC1, 0xC2, 0xC3]
    assert reader.value("[n.nvmlDeviceGetNvLinkCapability(h, 0, i) for i in range(6)]") == [1, 1, 1, 1, 0, 1]
    assert [reader.field(number, link=3) for number in (161, 163, 165, 166)] == [11, 12, 0, 6]
    assert (reader.field(165, link=4), reader.field(91), reader.field(147)) == (1, 18, 18)
    assert reader.field(165, link=18) == ("code", 2)
    assert reader.field(206, link=3) == ("code", 3)  # of a younger kind of link


@pytest.mark.parametrize("version", [2, 3])
def test_the_fabric_is_complete_or_not(reader: Reader, folder: Path, version: int) -> None:
    filled = f"[f := n.c_nvmlGpuFabricInfo_v{version}_t(), n.nvmlDeviceGetGpuFabricInfoV(h, n.byref(f)), f][2]"
    plain = "[f := n.c_nvmlGpuFabricInfo_t(), n.nvmlDeviceGetGpuFabricInfo(h, n.byref(f)), f][2]"
    healthy = reader.value(filled)
    assert isinstance(healthy, dict)
    assert (healthy["state"], healthy["status"], healthy["cliqueId"]) == (3, 0, 0)
    gpus.change(folder, 0, {"fabric_state": 1, "fabric_health": 2, "fabric_clique": 7, "fabric_cluster": "0a" * 16})
    ill = reader.value(filled)
    assert isinstance(ill, dict)
    assert (ill["state"], ill["healthMask"], ill["cliqueId"], ill["clusterUuid"]) == (1, 2, 7, [10] * 16)
    assert reader.value(plain) == {"clusterUuid": [10] * 16, "status": 0, "cliqueId": 7, "state": 1}
    gpus.reset(folder, SERVER, profile="a100")
    assert reader.code(filled) == 3


def test_how_gpus_reach_each_other_is_told(reader: Reader, folder: Path) -> None:
    """Asked past pynvml, whose own word for the first kind of reach no call takes."""
    other = "n.nvmlDeviceGetHandleByIndex(1)"
    call = "n._nvmlGetFunctionPointer('nvmlDeviceGetP2PStatus')(h, {other}, {kind}, n.byref(a))"
    asked = f"[a := n.c_uint(99), {call}, a.value][1:]"
    assert reader.value(f"n.nvmlDeviceGetTopologyCommonAncestor(h, {other})") == 50
    assert reader.value(asked.format(other=other, kind=0)) == [0, 0]
    assert reader.value(asked.format(other=other, kind=6)) == [2, 99]
    gpus.change(folder, 0, {"p2p": 3, "topology": 10})
    assert reader.value(asked.format(other=other, kind=0)) == [0, 3]
    assert reader.value(f"n.nvmlDeviceGetTopologyCommonAncestor(h, {other})") == 10
    assert reader.value(f"n.nvmlDeviceOnSameBoard(h, {other})") is False


# --- events ---


def test_an_xid_is_told_once_to_who_waits_for_it(reader: Reader, folder: Path) -> None:
    gpus.raise_xid(folder, 0, 13)  # before anybody waited
    reader.ask("n.nvmlEventSetCreate()")
    # pynvml's handles cannot cross lines as JSON, so the set lives in the reader as `s`.
    assert reader.value("n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError, s)") is None
    assert reader.code("n.nvmlEventSetWait_v2(s, 50)") == 10
    gpus.raise_xid(folder, 0, 79)
    assert reader.value("n.nvmlEventSetWait_v2(s, 500).eventData") == 79
    assert reader.code("n.nvmlEventSetWait_v2(s, 50)") == 10
    gpus.raise_xid(folder, 0, 79)
    first = "n._nvmlGetFunctionPointer('nvmlEventSetWait')(s, n.byref(e), 500)"  # the call's first version
    assert reader.value(f"[e := n.c_nvmlEventData_t(), {first}, e.eventData][1:]") == [0, 79]


def test_events_that_came_together_are_told_in_their_order(reader: Reader, folder: Path) -> None:
    reader.ask("n.nvmlEventSetCreate()")
    reader.ask("n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError, s)")
    gpus.raise_xid(folder, 0, 48)
    gpus.raise_event(folder, 0, 2, 0)  # an uncorrectable error: this set did not ask for those
    gpus.raise_xid(folder, 0, 63)
    assert reader.value("[n.nvmlEventSetWait_v2(s, 500).eventData for _ in range(2)]") == [48, 63]
    assert reader.code("n.nvmlEventSetWait_v2(s, 50)") == 10


def test_who_waits_is_told_after_a_mend_too(reader: Reader, folder: Path) -> None:
    reader.ask("n.nvmlEventSetCreate()")
    reader.ask("n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError, s)")
    gpus.raise_xid(folder, 0, 48)
    assert reader.value("n.nvmlEventSetWait_v2(s, 500).eventData") == 48
    gpus.mend(folder, SERVER)
    gpus.raise_xid(folder, 0, 63)
    assert reader.value("n.nvmlEventSetWait_v2(s, 500).eventData") == 63


def test_an_event_to_come_is_waited_for(reader: Reader, folder: Path) -> None:
    reader.ask("n.nvmlEventSetCreate()")
    reader.ask("n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError, s)")
    due = time.time() + 2
    gpus.change(folder, 0, {"event.1": f"8 74 {due:.3f}"})
    assert reader.code("n.nvmlEventSetWait_v2(s, 50)") == 10
    assert reader.value("n.nvmlEventSetWait_v2(s, 20000).eventData") == 74
    assert time.time() >= due


def test_an_event_of_another_gpu_says_so(reader: Reader, folder: Path) -> None:
    reader.ask("n.nvmlEventSetCreate()")
    reader.ask("n.nvmlDeviceRegisterEvents(h, 8, s)")
    reader.ask("n.nvmlDeviceGetHandleByIndex(1)")
    reader.ask("n.nvmlDeviceRegisterEvents(h, 8, s)")
    gpus.raise_xid(folder, 1, 31)
    told = "[e := n.nvmlEventSetWait_v2(s, 500), n.nvmlDeviceGetIndex(e.device), e.eventType, e.eventData][1:]"
    assert reader.value(told) == [1, 8, 31]
    gpus.change(folder, 1, {"return": 15})
    assert reader.code("n.nvmlEventSetWait_v2(s, 500)") == 15


def test_only_so_many_events_are_kept(folder: Path) -> None:
    for number in range(gpus.KEPT_EVENTS + 5):
        gpus.raise_xid(folder, 0, number + 1)
    kept = [value.split()[1] for key, value in gpus.read_gpu(folder, 0).items() if key.startswith("event.")]
    assert kept == [str(number + 6) for number in range(gpus.KEPT_EVENTS)]


# --- the files ---


def test_changing_a_gpu_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(DsopsError, match="no simulated gpu7"):
        gpus.change(folder, 7, {"temperature": 1})


def test_a_reset_makes_all_healthy_again(folder: Path) -> None:
    gpus.change(folder, 1, {"return": 15})
    gpus.reset(folder, SERVER)
    assert "return" not in gpus.read_gpu(folder, 1)
    assert gpus.count(folder) == 2


def test_who_asks_in_the_middle_of_a_reset_sees_healthy_gpus(reader: Reader, folder: Path) -> None:
    reader.send("[len(n.nvmlDeviceGetName(h)) for _ in range(5000)][-1]")
    for _ in range(100):
        gpus.reset(folder, SERVER)
    assert "value" in reader.receive()


def test_files_of_before_there_were_profiles_are_completed(reader: Reader, folder: Path) -> None:
    gpus.write(folder / "gpu0.conf", "name=Old\ntemperature=50\nxid_sequence=3\nxid=79\n")
    assert reader.code("n.nvmlDeviceGetCurrPcieLinkWidth(h)") == 3
    gpus.complete(folder, SERVER)
    assert reader.value("n.nvmlDeviceGetCurrPcieLinkWidth(h)") == 16
    assert (reader.value(NAME), reader.value(TEMPERATURE)) == ("Old", 50)
    assert not {"xid", "xid_sequence"} & set(gpus.read_gpu(folder, 0))
    before = (folder / "gpu1.conf").stat().st_mtime_ns
    gpus.complete(folder, SERVER)
    assert (folder / "gpu1.conf").stat().st_mtime_ns == before


def test_files_of_before_cards_could_be_divided_are_completed(folder: Path) -> None:
    old = {key: value for key, value in gpus.read_gpu(folder, 0).items() if not key.startswith("mig_profile.")}
    gpus.write(folder / "gpu0.conf", gpus.render({**old, "temperature": "50"}))
    gpus.complete(folder, SERVER)
    assert gpus.read_gpu(folder, 0) == {**gpus.read_gpu(folder, 1), **old, "temperature": "50"}


def test_a_mend_leaves_the_cards_as_many_and_as_they_are(folder: Path) -> None:
    gpus.reset(folder, SERVER, profile="t4", cards=4)
    gpus.change(folder, 3, {"return": 15})
    gpus.change(folder, "driver", {"count": 3})
    gpus.mend(folder, SERVER)
    assert gpus.count(folder) == 4
    assert gpus.read_gpu(folder, 3)["name"] == "Tesla T4"
    assert "return" not in gpus.read_gpu(folder, 3)


def test_the_kernels_log_is_appended_to_as_the_kernel_does(folder: Path) -> None:
    gpus.begin_log(folder)
    with (folder / gpus.KERNEL_LOG).open() as open_since_long:
        gpus.log_line(folder, "NVRM: one")
        gpus.log_line(folder, "NVRM: two")
        lines = open_since_long.read().splitlines()
    heads, texts = zip(*(line.split(";", 1) for line in lines), strict=True)
    assert texts == ("NVRM: one", "NVRM: two")
    assert [head.split(",")[:2] for head in heads] == [["4", "0"], ["4", "1"]]
    assert gpus.get_pci(folder, 1) == "0000:11:00"
