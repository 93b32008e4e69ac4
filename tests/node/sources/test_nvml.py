"""The real child with the real pynvml over the lab's simulated libnvidia-ml.so.1."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
from dsops.core.status import Condition
from dsops.node.sources.gpu_child import GpuChild
from dsops.node.sources.gpus import Reading, Sweep, judge_gpus

SOURCE = Path(__file__).parents[3] / "agent/dsops/lab/nvml/nvml.c"

pytestmark = pytest.mark.skipif(not shutil.which("cc") or not SOURCE.is_file(), reason="needs cc and the lab's nvml.c")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    argv = ["cc", "-shared", "-fPIC", "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)]
    subprocess.run(argv, check=True, timeout=60)
    return folder


@pytest.fixture
def gpus(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
    monkeypatch.setenv("DSOPS_LAB_GPUS", str(tmp_path))
    (tmp_path / "driver.conf").write_text("count=2\n")
    for index in range(2):
        (tmp_path / f"gpu{index}.conf").write_text("")
    return tmp_path


async def read_and_change(gpus: Path, name: str, text: str, *, deadline: float = 10) -> tuple[Reading, Reading]:
    """One sweep, then the file says something else, then another: the same child."""
    child = GpuChild(deadline=deadline)
    try:
        first = await child.read()
        (gpus / name).write_text(text)
        return first, await child.read()
    finally:
        await child.close()


def test_two_simulated_gpus_are_read(gpus: Path) -> None:
    first, second = asyncio.run(read_and_change(gpus, "driver.conf", "count=1\n"))
    assert (first.sweep, len(first.gpus), len(second.gpus)) == (Sweep.OK, 2, 1)
    assert all(g.uuid and g.name and g.memory_total_bytes and g.temperature_c for g in first.gpus)
    assert judge_gpus(first, expected=2) == ()
    assert judge_gpus(second, expected=2)[0].code == "gpu.count"


def test_a_gpu_that_falls_off_the_bus_is_lost(gpus: Path) -> None:
    _, second = asyncio.run(read_and_change(gpus, "gpu1.conf", "return=15\n"))
    (finding,) = judge_gpus(second, expected=2)
    assert (finding.entity, finding.code) == ("gpu1", "gpu.lost")
    assert len(second.gpus) == 1


def test_a_driver_that_goes_away_is_no_driver(gpus: Path) -> None:
    _, second = asyncio.run(read_and_change(gpus, "driver.conf", "return=9\n"))
    assert (second.sweep, second.reason) == (Sweep.ABSENT, "the NVIDIA driver is not loaded")


def test_a_driver_that_hangs_makes_the_node_blind(gpus: Path) -> None:
    first, second = asyncio.run(read_and_change(gpus, "gpu0.conf", "hang=-1\n", deadline=2))
    assert (first.sweep, second.sweep) == (Sweep.OK, Sweep.HUNG)
    assert judge_gpus(second, expected=2)[0].condition is Condition.BLIND
