"""The GPU sweep: with a simulated NVML, and with children that hang, die and babble."""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from dsops.node.sources.gpu_child import LINE_BYTES, RETRY_STUCK_SECONDS, GpuChild
from dsops.node.sources.gpu_values import ERROR_LETTERS, KEYS, Value
from dsops.node.sources.gpus import Lost, Reading, Sweep, parse_reading, read_gpus

from tests.node.sources.fake_nvml import FakeNvml


def child(code: str, *, deadline: float = 5.0) -> GpuChild:
    return GpuChild([sys.executable, "-c", code], deadline=deadline)


async def read_twice(reader: GpuChild) -> tuple[Reading, Reading]:
    try:
        return await reader.read(), await reader.read()
    finally:
        await reader.close()


def test_a_sweep_reads_every_gpu_and_closes_nvml() -> None:
    nvml = FakeNvml()
    reading = read_gpus(nvml)
    assert (reading.sweep, reading.driver, len(reading.gpus)) == (Sweep.OK, "580.1", 2)
    gpu = reading.gpus[1]
    assert (gpu.index, gpu.name, gpu.temperature_c, gpu.power_w) == (1, "NVIDIA H100", 41, 99.5)
    assert (gpu.memory_used_bytes, gpu.memory_total_bytes, gpu.utilization_percent) == (3, 8, 55)
    assert nvml.open == 0


@pytest.mark.parametrize(("code", "said"), [(9, "not loaded"), (12, "no NVIDIA driver")])
def test_no_driver_means_no_gpus_with_the_reason(code: int, said: str) -> None:
    reading = read_gpus(FakeNvml(errors={"nvmlInit": code}))
    assert reading.sweep is Sweep.ABSENT
    assert said in reading.reason


def test_a_driver_that_does_not_match_is_an_error() -> None:
    reading = read_gpus(FakeNvml(errors={"nvmlInit": 18}))
    assert reading.sweep is Sweep.ERROR
    assert reading.reason == "NVML: error 18"


def test_of_a_lost_gpu_nothing_is_read_and_of_the_others_everything() -> None:
    nvml = FakeNvml(lost=(0,))
    reading = read_gpus(nvml)
    assert [g.index for g in reading.gpus] == [1]
    assert reading.lost == (Lost(0, "GPU 0: error 15", 15),)
    assert {value.gpu for value in reading.values} == {1}
    assert nvml.open == 0


def test_a_value_that_the_gpu_does_not_offer_is_unknown() -> None:
    reading = read_gpus(FakeNvml(errors={"nvmlDeviceGetPowerUsage": 3, "nvmlDeviceGetTemperature": 13}))
    assert (reading.gpus[0].power_w, reading.gpus[0].temperature_c) == (None, None)


def test_a_reading_that_is_no_reading_is_a_dead_child() -> None:
    assert parse_reading(b"Segmentation fault\n").sweep is Sweep.DEAD
    assert parse_reading(b'{"sweep": "fine"}\n').sweep is Sweep.DEAD


def test_the_real_child_answers_sweep_after_sweep() -> None:
    reader = GpuChild(deadline=20)
    first, second = asyncio.run(read_twice(reader))
    assert first.sweep is second.sweep
    assert first.sweep in (Sweep.OK, Sweep.ABSENT)
    assert first.reason or first.gpus


def test_one_child_serves_many_sweeps() -> None:
    code = """
import os, sys
for _ in sys.stdin:
    print('{"sweep": "ok", "reason": "%d"}' % os.getpid(), flush=True)
"""
    first, second = asyncio.run(read_twice(child(code)))
    assert first == second
    assert first.reason.isdecimal()


def test_a_hung_driver_is_a_reading_at_the_deadline() -> None:
    start = time.perf_counter()
    first, second = asyncio.run(read_twice(child("import time; time.sleep(60)", deadline=0.2)))
    assert time.perf_counter() - start < 2
    assert (first.sweep, second.sweep) == (Sweep.HUNG, Sweep.HUNG)
    assert first.reason == "the driver did not answer NVML in 0.2 s"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit(3)", "exit 3"),
        ("import os; os.kill(os.getpid(), 11)", "signal 11"),
    ],
)
def test_a_child_that_dies_is_a_reading_and_the_next_one_is_fresh(code: str, said: str) -> None:
    first, second = asyncio.run(read_twice(child(code)))
    assert (first.sweep, second.sweep) == (Sweep.DEAD, Sweep.DEAD)
    assert "the GPU reader" in first.reason


def test_a_child_that_cannot_start_is_a_reading() -> None:
    reader = GpuChild(["/nonexistent/python"])
    assert asyncio.run(reader.read()).sweep is Sweep.DEAD


def test_a_child_that_cannot_be_killed_is_not_joined_by_others() -> None:
    @dataclass
    class Stuck:
        pid: int = 42
        returncode: int | None = None

    now = [0.0]
    reader = GpuChild([sys.executable, "-c", "import sys; sys.exit(3)"], clock=lambda: now[0])
    stuck: Any = Stuck()
    reader._stuck.append(stuck)
    reading = asyncio.run(reader.read())
    assert (reading.sweep, "pid 42" in reading.reason) == (Sweep.HUNG, True)
    now[0] = RETRY_STUCK_SECONDS
    assert asyncio.run(reader.read()).sweep is Sweep.DEAD
    now[0], stuck.returncode = 0.0, -9
    assert asyncio.run(reader.read()).sweep is Sweep.DEAD


def test_a_reading_of_many_gpus_of_which_nothing_can_be_read_is_one_line() -> None:
    errors = [Value(gpu, key, error="x" * ERROR_LETTERS) for gpu in range(16) for key in KEYS]
    longest = len(json.dumps(asdict(Reading(Sweep.OK, values=tuple(errors)))))
    assert 65536 < longest < LINE_BYTES
    code = f"""
import sys
for _ in sys.stdin:
    print('{{"sweep": "ok", "reason": "' + "x" * {longest} + '"}}', flush=True)
"""
    first, second = asyncio.run(read_twice(child(code)))
    assert first == second == Reading(Sweep.OK, reason="x" * longest)
