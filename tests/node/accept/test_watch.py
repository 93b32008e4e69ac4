"""The reader of GPUs: with the lab's NVML, with readers that hang, die and babble, and what is made of its samples."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dsops.core.accept.measured import Gap, Lack, Taken
from dsops.lab import gpus
from dsops.lab.place import Server
from dsops.node.accept.gpu_child import Lines
from dsops.node.accept.samples import (
    Sample,
    Seen,
    find_gpus,
    find_users,
    list_gaps,
    parse_sample,
    sum_up,
    sum_up_load,
)
from dsops.node.accept.watch import Watch

from tests.node.accept.child import make_reader
from tests.node.sources.fake_nvml import FakeNvml

VALUES = {
    "power": 690.0,
    "power_limit": 700.0,
    "temperature": 60.0,
    "temperature_slowdown": 87.0,
    "clock": 1400.0,
    "reasons": 4.0,
    "ecc_mode": 1.0,
    "ecc_corrected": 5.0,
    "ecc_uncorrected": 0.0,
    "remap_pending": 0.0,
    "remap_failed": 0.0,
    "pcie_generation": 5.0,
    "pcie_generation_max": 5.0,
    "pcie_width": 16.0,
    "pcie_width_max": 16.0,
    "nvlinks_active": 18.0,
    "memory_total": 85520809984.0,
}


def see(index: int = 0, **changes: Any) -> Seen:
    """A sound GPU at work."""
    values = VALUES | {key: value for key, value in changes.items() if key in VALUES}
    rest = {key: value for key, value in changes.items() if key not in VALUES}
    return replace(Seen(index, values, {"uuid": f"GPU-{index}", "name": "NVIDIA H100", "id": "2330"}), **rest)


def lack(name: str, *, why: str = "") -> Seen:
    """One that does not tell what begins so; why: it could not be read."""
    gone = {key for key in VALUES if key.startswith(name)}
    one = see(values={key: value for key, value in VALUES.items() if key not in gone})
    rest = frozenset({"retired_pending"})
    return replace(one, errors=dict.fromkeys(gone, why), absent=rest) if why else replace(one, absent=gone | rest)


def sample(*gpus: Seen, **changes: Any) -> Sample:
    return replace(Sample("", "580.1", gpus or (see(),)), **changes)


def figures(taken: Taken) -> dict[str, float]:
    return {one.name: one.value for one in taken.figures}


def test_counters_are_what_came_since_and_states_are_what_is_now() -> None:
    taken = sum_up(sample(), [], sample(see(ecc_corrected=9.0, nvlinks_active=17.0)))
    assert figures(taken) == {
        "ecc_on": 1.0,
        "remap_pending": 0.0,
        "remap_failed": 0.0,
        "pcie_width": 16.0,
        "nvlinks": 17.0,
        "ecc_corrected": 4.0,
        "ecc_uncorrected": 0.0,
        "xids": 0.0,
    }
    assert taken.gaps == ()


def test_an_xid_that_was_raised_meanwhile_is_its_gpus_own() -> None:
    heard = sample(see(0), see(1), xids=(("GPU-1", 79), ("GPU-1", 94)))
    taken = sum_up(sample(see(0), see(1)), [heard], sample(see(0), see(1)))
    assert [(one.gpu, one.value, one.unit) for one in taken.figures if one.name == "xids"] == [
        (0, 0, ""),
        (1, 2, "(79, 94)"),
    ]


def test_a_driver_that_tells_no_xids_leaves_them_unknown() -> None:
    taken = sum_up(sample(), [], sample(xids_lack="Not Supported"))
    assert [(gap.name, gap.lack) for gap in taken.gaps] == [("xids", Lack.UNREAD)]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("ecc_corrected", {"ecc_corrected"}),
        ("ecc_uncorrected", {"ecc_uncorrected"}),
        ("ecc_mode", {"ecc_on"}),
        ("pcie_width", {"pcie_width"}),
        ("nvlinks_active", {"nvlinks"}),
        ("remap", {"remap_pending", "remap_failed"}),
    ],
)
def test_what_could_not_be_read_is_unknown_and_what_is_not_offered_means_nothing_here(
    name: str, names: set[str]
) -> None:
    for seen, wants in ((lack(name, why="Unknown Error"), Lack.UNREAD), (lack(name), Lack.OTHER)):
        for before, after in ((sample(seen), sample(seen)), (sample(), sample(seen))):
            taken = sum_up(before, [], after)
            assert {(gap.name, gap.lack) for gap in taken.gaps} == {(one, wants) for one in names}
            assert not names & set(figures(taken))


def test_a_gpu_that_is_gone_afterwards_has_nothing_that_was_read() -> None:
    taken = sum_up(sample(see(0), see(1)), [], sample(see(0)))
    assert {gap.lack for gap in taken.gaps} == {Lack.UNREAD}
    assert {gap.gpu for gap in taken.gaps} == {1}
    renumbered = replace(see(1), index=0)
    taken = sum_up(sample(see(0), see(1)), [], sample(renumbered))
    assert {gap.gpu for gap in taken.gaps} == {0}
    dead = sum_up(sample(), [], Sample(error="the driver did not answer"))
    assert (dead.figures, {gap.why for gap in dead.gaps}) == ((), {"the driver did not answer"})


def test_under_load_the_highest_fifth_of_the_power_counts_and_the_clock_of_that_time() -> None:
    idle = see(power=90.0, clock=1980.0, temperature=40.0, pcie_generation=1.0)
    busy = see(power=693.0, clock=1410.0, temperature=64.0)
    taken = sum_up_load([sample(one) for one in (idle, idle, busy, busy, idle)])
    assert figures(taken) == {
        "power_share": 99.0,
        "clock": 1410.0,
        "temperature": 64.0,
        "slowdown": 0.0,
        "pcie_generation": 5.0,
    }
    bounds = {one.name: one.bound for one in taken.figures}
    assert (bounds["temperature"], bounds["pcie_generation"]) == (87.0, 5.0)


@pytest.mark.parametrize("bit", [0x08, 0x20, 0x40, 0x80])
def test_a_clock_that_is_held_down_by_heat_or_the_board_is_a_slowdown_and_the_power_cap_is_none(bit: int) -> None:
    taken = sum_up_load([sample(see(reasons=float(4 | bit))), sample(), sample(), sample()])
    assert figures(taken)["slowdown"] == 25.0


@pytest.mark.parametrize(
    ("name", "figure"),
    [
        ("power", "power_share"),
        ("clock", "clock"),
        ("temperature", "temperature"),
        ("reasons", "slowdown"),
        ("pcie_generation", "pcie_generation"),
    ],
)
def test_what_was_not_read_under_load_is_no_figure(name: str, figure: str) -> None:
    for seen, wants in ((lack(name, why="Unknown Error"), Lack.UNREAD), (lack(name), Lack.OTHER)):
        taken = sum_up_load([sample(seen)] * 3)
        assert (figure, wants) in {(gap.name, gap.lack) for gap in taken.gaps}
        assert figure not in figures(taken)


def test_a_line_that_is_no_sample_is_one_with_an_error() -> None:
    for line in (b"", b"{", b"[]", b'{"error": ""}', b'{"error": "", "driver": "1", "gpus": [{}]}'):
        assert "broke" in parse_sample(line).error
    assert parse_sample(b'{"error": "NVML: Uninitialized"}').error == "NVML: Uninitialized"


def test_gpus_and_whoever_uses_them_are_told() -> None:
    busy = sample(see(0), replace(see(1), values=VALUES | {"processes": 2.0}))
    assert [gpu.id for gpu in find_gpus(busy)] == ["2330", "2330"]
    assert (find_users(sample()), find_users(busy)) == ("", "GPU 1: 2 processes")


def test_a_gap_for_everything_under_load_is_there_once() -> None:
    gaps = list_gaps(find_gpus(sample(see(0), see(1))), Lack.OFF, "off")
    assert Gap("product_rate", Lack.OFF, "off", 1) in gaps
    assert len({(gap.name, gap.gpu) for gap in gaps}) == len(gaps)


def test_a_reader_that_hangs_is_told_in_time_and_ended() -> None:
    with Watch(make_reader(then="time.sleep(60)"), silent_seconds=0.3) as watch:
        assert watch.get_next().error == "the driver did not answer NVML in 0.3 s"


@pytest.mark.parametrize(
    ("reader", "says"),
    [
        (make_reader(), "the GPU reader ended"),
        (make_reader("nonsense"), "the GPU reader broke"),
        (make_reader({"error": "NVML: Driver Not Loaded"}), "NVML: Driver Not Loaded"),
        (make_reader(then="sys.exit(1)"), "the GPU reader ended"),
    ],
)
def test_a_reader_that_dies_or_babbles_is_told(reader: tuple[str, ...], says: str) -> None:
    with Watch(reader, silent_seconds=10) as watch:
        assert says in watch.get_next().error


def make_nvml(**errors: int) -> FakeNvml:
    """Of one GPU. errors: function -> NVML's code."""
    answers = {
        "nvmlDeviceGetSerial": "1650",
        "nvmlDeviceGetPciInfo": SimpleNamespace(pciDeviceId=0x233010DE),
        "nvmlDeviceGetEnforcedPowerLimit": 700000,
        "nvmlDeviceGetRetiredPagesPendingStatus": 1,
        "nvmlEventSetCreate": 0,
        "nvmlDeviceRegisterEvents": None,
    }
    return FakeNvml(count=1, answers=answers, errors={"nvmlEventSetWait_v2": 10, **errors})


def test_a_sweep_tells_all_that_an_acceptance_knows() -> None:
    (gpu,) = Lines(make_nvml()).sweep()["gpus"]
    assert gpu["words"] == {"uuid": "GPU-0", "name": "NVIDIA H100", "id": "2330", "serial": "1650"}
    assert (gpu["absent"], gpu["errors"]) == ([], {})
    assert gpu["values"].keys() >= VALUES.keys()


def test_each_value_is_told_as_absent_or_as_an_error_and_the_others_stay() -> None:
    (gpu,) = Lines(make_nvml(nvmlDeviceGetTemperature=3, nvmlDeviceGetEccMode=999)).sweep()["gpus"]
    assert gpu["absent"] == ["temperature"]
    assert gpu["errors"] == dict.fromkeys(("ecc_mode", "ecc_mode_pending"), "error 999")
    assert gpu["values"]["power"] == 99500


@pytest.mark.parametrize("code", [15, 16])
def test_of_a_gpu_that_is_gone_nothing_was_read(code: int) -> None:
    said = Lines(make_nvml(nvmlDeviceGetPowerUsage=code)).sweep()
    (gpu,) = said["gpus"]
    assert (gpu["values"], gpu["words"], gpu["absent"]) == ({}, {}, [])
    seen = parse_sample(json.dumps(said).encode())
    for after in (seen, sample(see(0))):
        taken = sum_up(seen, [], after)
        assert (figures(taken).keys() - {"xids"}, {gap.lack for gap in taken.gaps}) == (set(), {Lack.UNREAD})


def test_a_sweep_of_a_driver_that_does_not_answer_is_one_error() -> None:
    assert Lines(make_nvml(nvmlDeviceGetCount=999)).sweep() == {"error": "NVML: error 999"}
    assert Lines(make_nvml(nvmlEventSetCreate=3)).sweep()["xids_lack"] == "error 3"
    assert "error" in Lines(make_nvml(nvmlEventSetWait_v2=15)).sweep()["error"]


def test_an_older_gpu_retires_pages_instead_of_rows() -> None:
    said = Lines(make_nvml(nvmlDeviceGetRemappedRows=3)).sweep()
    seen = parse_sample(json.dumps(said).encode())
    taken = sum_up(seen, [], seen)
    assert figures(taken)["remap_pending"] == 1
    assert [(gap.name, gap.lack) for gap in taken.gaps] == [("remap_failed", Lack.OTHER)]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc for the simulated GPUs")
    return gpus.build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def folder(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    gpus.reset(tmp_path / "gpus", Server("gpu1", 11, gpus=2))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library.parent))
    monkeypatch.setenv("DSOPS_LAB_GPUS", str(tmp_path / "gpus"))
    return tmp_path / "gpus"


def test_the_labs_gpus_are_read_and_their_faults_are_found(folder: Path) -> None:
    with Watch() as watch:
        before = watch.get_next()
        assert before.error == ""
        gpus.change(folder, 1, {"ecc_uncorrected": 2, "remap_pending": 1})
        gpus.raise_xid(folder, 1, 94)
        after = watch.get_next()
        samples = watch.get_since(0)
    uuids = [gpu.uuid for gpu in find_gpus(before)]
    assert len(set(uuids)) == 2
    assert [gpu.id for gpu in find_gpus(before)] == ["2330", "2330"]
    taken = sum_up(before, samples, after)
    found = {(one.name, one.gpu): one.value for one in taken.figures}
    assert (found[("ecc_uncorrected", 1)], found[("remap_pending", 1)]) == (2, 1)
    assert found[("ecc_uncorrected", 0)] == found[("remap_pending", 0)] == 0
    assert (found[("xids", 0)], found[("xids", 1)]) == (0, 1)
    assert {gap.lack for gap in taken.gaps} <= {Lack.OTHER}


def test_a_value_of_the_lab_that_cannot_be_read_is_an_error(folder: Path) -> None:
    gpus.change(folder, 0, {"return.nvmlDeviceGetEccMode": 999})
    with Watch() as watch:
        seen = watch.get_next().gpus[0]
    assert "ecc_mode" in seen.errors
    assert "temperature" in seen.values


def test_the_child_ends_with_whoever_started_it(folder: Path) -> None:
    argv = [sys.executable, "-m", "dsops.node.accept.gpu_child"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=True)
    assert done.stdout.count(b"\n") == 1
