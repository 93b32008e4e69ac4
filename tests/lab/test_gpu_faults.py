"""Faults of simulated GPUs by name, as the agent's own library sees them; and their mend."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from dsops.core.errors import DsopsError
from dsops.lab import faults, gpu_faults, gpus
from dsops.lab.place import LAB, Lab
from dsops.node.checks.kernel import XID
from dsops.node.sources.kernel_log import KernelLog

from tests.lab.conftest import SERVER, Reader

GPU1 = LAB.servers[1]
# fault, words -> what is asked then, and the answer
SEEN = [
    ("ecc", ["3"], "n.nvmlDeviceGetTotalEccErrors(h, 1, 0)", 3),
    ("sram", [], "[n.nvmlDeviceGetMemoryErrorCounter(h, 1, 0, place) for place in (2, 7)]", [0, 8]),
    ("remap-pending", [], "n.nvmlDeviceGetRemappedRows(h)", [0, 1, 1, 0]),
    ("remap-failed", [], "n.nvmlDeviceGetRemappedRows(h)", [0, 0, 0, 1]),
    ("recovery", [], "n.nvmlDeviceGetFieldValues(h, [230])[0].value.uiVal", 1),
    ("gpu-count", [], "n.nvmlDeviceGetCount()", 1),
    ("gpu-count", ["0"], "n.nvmlDeviceGetCount()", 0),
    (
        "gpu-set",
        ["temperature=77", "power=5"],
        "[n.nvmlDeviceGetTemperature(h, 0), n.nvmlDeviceGetPowerUsage(h)]",
        [77, 5],
    ),
    ("thermal", [], "[n.nvmlDeviceGetTemperature(h, 0), n.nvmlDeviceGetClockInfo(h, 1)]", [91, 990]),
    ("thermal", [], "n.nvmlDeviceGetCurrentClocksEventReasons(h)", 0x48),
    ("power-brake", [], "n.nvmlDeviceGetCurrentClocksThrottleReasons(h)", 0x88),
    ("power-cap", [], "[n.nvmlDeviceGetCurrentClocksEventReasons(h), n.nvmlDeviceGetPowerUsage(h)]", [4, 700000]),
    ("pcie-width", [], "[n.nvmlDeviceGetCurrPcieLinkWidth(h), n.nvmlDeviceGetMaxPcieLinkWidth(h)]", [8, 16]),
    ("link-down", ["5"], "[n.nvmlDeviceGetNvLinkState(h, link) for link in (4, 5, 6)]", [1, 0, 1]),
    (
        "fabric-down",
        [],
        "[f := n.c_nvmlGpuFabricInfo_v3_t(), n.nvmlDeviceGetGpuFabricInfoV(h, n.byref(f)), f.state][2]",
        1,
    ),
]
# fault, words -> what is asked then, and its code
FAILING = [
    ("gpu-lost", [], "n.nvmlDeviceGetName(h)", 15),
    ("gpu-reset", [], "n.nvmlDeviceGetName(h)", 16),
    ("gpu-error", [], "n.nvmlDeviceGetName(h)", 999),
    ("gpu-error", ["27", "nvmlDeviceGetPowerUsage"], "n.nvmlDeviceGetPowerUsage(h)", 27),
    ("inforom", [], "n.nvmlDeviceValidateInforom(h)", 14),
    ("no-driver", [], "n.nvmlInit()", 9),
    ("driver-mismatch", [], "n.nvmlInit()", 18),
]
GROWING = {
    "ecc-storm": "n.nvmlDeviceGetTotalEccErrors(h, 0, 0)",
    "thermal": "n.nvmlDeviceGetFieldValues(h, [270])[0].value.ullVal",
    "power-brake": "n.nvmlDeviceGetFieldValues(h, [271])[0].value.ullVal",
    "power-cap": "n.nvmlDeviceGetViolationStatus(h, 0).violationTime",
    "link-errors": "n.nvmlDeviceGetNvLinkErrorCounter(h, 0, 0)",
}
HANGING = {
    "gpu-hang": ([], "n.nvmlDeviceGetName(h)"),
    "driver-hang": ([], "n.nvmlInit()"),
    "gpu-slow": (["600", "nvmlDeviceGetName"], "n.nvmlDeviceGetName(h)"),
}
TOLD = {
    "xid": (["13", "45"], [13, 45]),
    "ecc": ([], [48]),
    "ecc-storm": ([], [92]),
    "remap-pending": ([], [63]),
    "remap-failed": ([], [64]),
    "recovery": ([], [154]),
    "link-down": ([], [74]),
}


def test_every_fault_is_shown_here() -> None:
    shown = {*(row[0] for row in SEEN), *(row[0] for row in FAILING), *GROWING, *HANGING, *TOLD}
    assert shown == set(gpu_faults.FAULTS)


@pytest.mark.parametrize(("name", "words", "asked", "answer"), SEEN)
def test_the_library_shows_it_until_it_is_mended(
    reader: Reader, folder: Path, name: str, words: list[str], asked: str, answer: object
) -> None:
    healthy = reader.value(asked)
    assert healthy != answer
    gpu_faults.apply(folder, name, words, gpu=0)
    assert reader.value(asked) == answer
    gpus.mend(folder, SERVER)
    assert reader.value(asked) == healthy


@pytest.mark.parametrize(("name", "words", "asked", "code"), FAILING)
def test_calls_fail_until_it_is_mended(
    reader: Reader, folder: Path, name: str, words: list[str], asked: str, code: int
) -> None:
    gpu_faults.apply(folder, name, words, gpu=0)
    assert reader.code(asked) == code
    gpus.mend(folder, SERVER)
    assert "value" in reader.ask(asked)


@pytest.mark.parametrize("name", GROWING)
def test_a_counter_grows_until_it_is_mended(reader: Reader, folder: Path, name: str) -> None:
    asked = GROWING[name]
    assert reader.value(asked) == 0
    gpu_faults.apply(folder, name, [], gpu=0)
    time.sleep(0.25)
    first = reader.value(asked)
    assert isinstance(first, int)
    assert first > 0
    time.sleep(0.25)
    second = reader.value(asked)
    assert isinstance(second, int)
    assert second > first
    gpus.mend(folder, SERVER)
    assert reader.value(asked) == 0


@pytest.mark.parametrize("name", HANGING)
def test_a_call_hangs_until_it_is_mended(reader: Reader, folder: Path, name: str) -> None:
    words, asked = HANGING[name]
    gpu_faults.apply(folder, name, words, gpu=0)
    reader.send(asked)
    time.sleep(0.3)
    begin = time.monotonic()
    gpus.mend(folder, SERVER)
    assert "value" in reader.receive()
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("name", TOLD)
def test_xids_are_told_as_events_and_in_the_kernels_log(reader: Reader, folder: Path, name: str) -> None:
    words, xids = TOLD[name]
    reader.ask("n.nvmlEventSetCreate()")
    reader.ask("n.nvmlDeviceRegisterEvents(h, n.nvmlEventTypeXidCriticalError, s)")
    said = gpu_faults.apply(folder, name, words, gpu=0)
    waited = f"[n.nvmlEventSetWait_v2(s, 500).eventData for _ in range({len(xids)})]"
    assert reader.value(waited) == xids
    assert f"told: Xid {', '.join(map(str, xids))}" in said
    lines = (folder / gpus.KERNEL_LOG).read_text().splitlines()
    assert [line.split(";")[1].split(", pid")[0] for line in lines] == [
        f"NVRM: Xid (PCI:0000:10:00): {xid}" for xid in xids
    ]


def test_the_agent_understands_what_the_log_says(folder: Path) -> None:
    log = KernelLog(folder / gpus.KERNEL_LOG)
    gpus.begin_log(folder)
    assert log.read() == []
    gpu_faults.apply(folder, "xid", ["79"], gpu=1)
    gpu_faults.apply(folder, "recovery", [], gpu=0)
    first, second = log.read()
    assert (first.seq, second.seq, log.lost) == (0, 1, 0)
    assert abs(first.at - time.monotonic()) < 60
    found = [XID.search(record.text) for record in (first, second)]
    assert [(one["pci"], one["number"]) for one in found if one] == [("0000:11:00", "79"), ("0000:10:00", "154")]
    log.close()


def test_errors_add_up(reader: Reader, folder: Path) -> None:
    for _ in range(2):
        gpu_faults.apply(folder, "ecc", ["2"], gpu=1)
    reader.ask("n.nvmlDeviceGetHandleByIndex(1)")
    assert reader.value("n.nvmlDeviceGetTotalEccErrors(h, 1, 0)") == 4


@pytest.mark.parametrize(
    ("name", "words", "what"),
    [
        ("xid", ["seventy"], "'seventy' is no Xid"),
        ("xid", ["0"], "'0' is no Xid"),
        ("ecc", ["-1"], "'-1' is no count of errors"),
        ("ecc-storm", ["fast"], "'fast' is no rate"),
        ("link-down", ["18"], "no link 18"),
        ("gpu-count", ["3"], "there are 2 GPUs"),
        ("gpu-slow", ["1", "nvmlDeviceGetNam"], "no nvmlDeviceGetNam"),
        ("gpu-error", ["fifteen"], "'fifteen' is no code"),
        ("gpu-set", ["temperature"], "'temperature' is no KEY=VALUE"),
        ("gpu-set", ["temperatur=90"], r"nothing reads temperatur \(temperature\?\)"),
    ],
)
def test_a_slip_is_told_and_changes_nothing(folder: Path, name: str, words: list[str], what: str) -> None:
    before = {path.name: path.read_text() for path in folder.iterdir()}
    with pytest.raises(DsopsError, match=what):
        gpu_faults.apply(folder, name, words, gpu=0)
    assert {path.name: path.read_text() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("profile", "name"),
    [("t4", "remap-pending"), ("t4", "link-down"), ("t4", "link-errors"), ("a100", "fabric-down"), ("t4", "sram")],
)
def test_a_card_cannot_break_where_it_has_nothing(folder: Path, profile: str, name: str) -> None:
    gpus.reset(folder, SERVER, profile=profile)
    with pytest.raises(DsopsError, match="has no"):
        gpu_faults.apply(folder, name, [], gpu=0)


@pytest.mark.parametrize("profile", ["a100", "t4"])
def test_heat_is_counted_on_every_card(reader: Reader, folder: Path, profile: str) -> None:
    gpus.reset(folder, SERVER, profile=profile)
    gpu_faults.apply(folder, "thermal", [], gpu=0)
    time.sleep(0.05)
    assert reader.value("n.nvmlDeviceGetViolationStatus(h, 1).violationTime > 0") is True


def test_a_slip_that_is_in_a_file_already_is_told_by_the_next_fault(folder: Path) -> None:
    with (folder / "gpu1.conf").open("a") as file:
        file.write("temprature=99\n")
    with pytest.raises(DsopsError, match=r"nothing reads temprature \(temperature\?\)") as caught:
        gpu_faults.apply(folder, "ecc", [], gpu=0)
    assert caught.value.where.endswith("gpu1.conf")
    gpus.mend(folder, SERVER)
    gpu_faults.apply(folder, "ecc", [], gpu=0)


# --- through the front door's table ---


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Servers' files, without servers."""
    lab = replace(LAB, root=tmp_path)
    gpus.reset(lab.home(GPU1).gpus, GPU1)
    return lab


def do(lab: Lab, name: str, *words: str, server: int = 1, gpu: int = 0) -> str:
    return faults.FAULTS[name].do(faults.Hit(lab, lab.servers[server], words, gpu))


def test_each_gpu_has_its_own_faults(lab: Lab) -> None:
    assert do(lab, "gpu-lost", gpu=1).startswith("GPU 1: ")
    assert gpus.read_gpu(lab.home(GPU1).gpus, 1)["return"] == "15"
    assert "return" not in gpus.read_gpu(lab.home(GPU1).gpus, 0)
    with pytest.raises(DsopsError, match="no simulated gpu2"):
        do(lab, "gpu-lost", gpu=2)


@pytest.mark.parametrize("name", ["gpu-lost", "xid", "cards", "missing-call"])
def test_a_server_without_gpus_has_none_to_break(lab: Lab, name: str) -> None:
    with pytest.raises(DsopsError, match="lb1 has no simulated GPUs"):
        do(lab, name, "79", server=0)


def test_other_cards_can_be_put_in(lab: Lab) -> None:
    assert do(lab, "cards", "t4", "8") == "8 x Tesla T4"
    assert gpus.count(lab.home(GPU1).gpus) == 8
    assert do(lab, "cards", "h100") == "2 x NVIDIA H100 80GB HBM3"
    for words, what in (
        (["b200"], "no profile"),
        (["t4", "9"], "1 to 8 GPUs"),
        (["t4", "0"], "1 to 8"),
        (["t4", "x"], "no number"),
    ):
        with pytest.raises(DsopsError, match=what):
            do(lab, "cards", *words)
    assert gpus.count(lab.home(GPU1).gpus) == 2


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc builds the simulated library")
def test_a_library_of_before_a_call_is_put_in_and_the_whole_one_again(lab: Lab) -> None:
    target = lab.home(GPU1).root / gpus.library_path()
    target.parent.mkdir(parents=True)
    gpus.install(lab, GPU1)
    whole = target.read_bytes()
    with pytest.raises(DsopsError, match="no nvmlDeviceGetRemapedRows"):
        do(lab, "missing-call", "nvmlDeviceGetRemapedRows")
    do(lab, "missing-call", "nvmlDeviceGetRemappedRows", "nvmlDeviceGetFieldValues")
    assert b"absent_nvmlDeviceGetRemappedRows" in target.read_bytes()
    assert gpus.install(lab, GPU1)
    assert target.read_bytes() == whole
    assert not gpus.install(lab, GPU1)
