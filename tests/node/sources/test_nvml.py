"""The real child with the real pynvml over the lab's simulated libnvidia-ml.so.1."""

import asyncio
import shutil
from pathlib import Path

import pytest
from dsops.core.status import Condition, Finding
from dsops.lab.gpus import Value, build, change, reset
from dsops.lab.place import Server
from dsops.node.sources.gpu_child import GpuChild
from dsops.node.sources.gpus import Reading, Sweep

from tests.node.checks.gpu_bed import Bed

pytestmark = pytest.mark.skipif(not shutil.which("gcc"), reason="gcc builds the simulated library")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml")).parent


@pytest.fixture
def gpus(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    monkeypatch.setenv("DSOPS_LAB_GPUS", str(tmp_path))
    reset(tmp_path, Server("gpu1", 11, gpus=2))
    return tmp_path


async def read_and_change(
    gpus: Path, which: int | str, values: dict[str, Value], *, deadline: float = 30
) -> tuple[Reading, Reading]:
    """One sweep, then the file says something else, then another within the deadline: the same child."""
    child = GpuChild(deadline=30)  # the first one starts a Python too
    try:
        first = await child.read()
        change(gpus, which, values)
        child._deadline = deadline
        return first, await child.read()
    finally:
        await child.close()


def judge(*readings: Reading) -> dict[str, Finding]:
    """What is found after so many sweeps."""
    bed = Bed()
    for reading in readings:
        bed.sweep(reading)
    return bed.find()


def test_two_simulated_gpus_are_read(gpus: Path) -> None:
    first, second = asyncio.run(read_and_change(gpus, "driver", {"count": 1}))
    assert (first.sweep, len(first.gpus), len(second.gpus)) == (Sweep.OK, 2, 1)
    assert all(g.uuid and g.name and g.memory_total_bytes and g.temperature_c for g in first.gpus)
    assert judge(*[first] * 9) == {}
    assert set(judge(*[second] * 9)) == {"gpus gpu.count"}


def test_a_gpu_that_falls_off_the_bus_is_lost(gpus: Path) -> None:
    _, second = asyncio.run(read_and_change(gpus, 1, {"return": 15}))
    assert set(judge(second, second)) == {"gpu1 gpu.lost"}
    assert len(second.gpus) == 1


def test_a_driver_that_goes_away_is_no_driver(gpus: Path) -> None:
    _, second = asyncio.run(read_and_change(gpus, "driver", {"return": 9}))
    assert (second.sweep, second.reason) == (Sweep.ABSENT, "the NVIDIA driver is not loaded")


def test_a_driver_that_hangs_makes_the_node_blind(gpus: Path) -> None:
    first, second = asyncio.run(read_and_change(gpus, 0, {"hang": -1}, deadline=1))
    assert (first.sweep, second.sweep) == (Sweep.OK, Sweep.HUNG)
    assert judge(second)["gpus gpu.hung"].condition is Condition.BLIND


FAULTS: list[tuple[dict[str, Value], str]] = [
    ({"return": 16}, "gpu0 gpu.reset_required"),
    ({"recovery_action": 2}, "gpu0 gpu.recovery_action"),
    ({"ecc_uncorrected": 1}, "gpu0 gpu.ecc_dbe"),
    ({"sram_threshold_exceeded": 1}, "gpu0 gpu.ecc_sram"),
    ({"ecc_mode": 0}, "gpu0 gpu.ecc_mode"),
    ({"remap_pending": 1}, "gpu0 gpu.remap_pending"),
    ({"remap_failed": 1}, "gpu0 gpu.remap_failed"),
    ({"temperature_memory": 95}, "gpu0 gpu.memory_hot"),
    ({"persistence": 0}, "gpu0 gpu.persistence"),
    ({"inforom_corrupt": 1}, "gpu0 gpu.inforom"),
    ({"vbios": "1.2"}, "gpus gpu.vbios"),
    ({"return.nvmlDeviceGetPowerUsage": 999}, "gpu0 gpu.power_unreadable"),
    ({"clock_sm": 345, "utilization_gpu": 90}, "gpu0 gpu.clocks"),
    ({"nvlink.3": 0}, "gpu0 nvlink.down"),
    ({"fabric_state": 1}, "gpu0 fabric.state"),
    ({"pcie_width": 8}, "gpu0 pcie.width"),
]


@pytest.mark.parametrize(("values", "found"), FAULTS)
def test_a_simulated_fault_is_found(gpus: Path, values: dict[str, Value], found: str) -> None:
    change(gpus, 0, values)
    reading = asyncio.run(read_once())
    assert set(judge(*[reading] * 20)) == {found}


async def read_once() -> Reading:
    child = GpuChild()
    try:
        return await child.read()
    finally:
        await child.close()


OLDER = {"gpu.ecc_sram", "gpu.remap_pending", "gpu.remap_failed", "gpu.memory_hot"}
ALONE = {"nvlink.down", "nvlink.errors", "fabric.state"}
LACKS = [
    ("h100", {"gpu.retired_pages", "nvlink.recoveries"}),
    ("a100", {"gpu.retired_pages", "gpu.margin", "gpu.memory_hot", "fabric.state", "nvlink.recoveries"}),
    ("t4", {*OLDER, *ALONE, "gpu.margin", "nvlink.recoveries"}),
]


@pytest.mark.parametrize(("profile", "lacks"), LACKS)
def test_each_kind_of_card_is_healthy_and_what_it_lacks_is_skipped(gpus: Path, profile: str, lacks: set[str]) -> None:
    reset(gpus, Server("gpu1", 11, gpus=2), profile=profile)
    reading = asyncio.run(read_once())
    first = Bed(baseline={})
    first.sweep(reading)
    bed = Bed(baseline={(one.entity, one.key): one.value for one in first.checkup.board.find_normal()})
    for _ in range(20):
        bed.sweep(reading)
    assert bed.find() == {}
    assert set(bed.checkup.skipped) == lacks
