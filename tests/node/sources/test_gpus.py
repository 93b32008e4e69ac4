"""The GPU sweep: with a simulated NVML, and with children that hang, die and babble."""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from dsops.core.status import Condition, Verdict
from dsops.node.sources.gpu_child import RETRY_STUCK_SECONDS, GpuChild
from dsops.node.sources.gpus import Lost, Reading, Sweep, judge_gpus, parse_reading, read_gpus


class NvmlError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


@dataclass
class Pair:
    used: int = 3
    total: int = 8
    gpu: int = 55


@dataclass
class FakeNvml:
    """As much of pynvml as the sweep uses. errors: function to NVML code; lost: silent indices."""

    count: int = 2
    errors: dict[str, int] = field(default_factory=dict)
    lost: tuple[int, ...] = ()
    open: int = 0
    NVMLError = NvmlError
    NVML_TEMPERATURE_GPU = 0
    NVML_ERROR_FUNCTION_NOT_FOUND = 13

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            if name in self.errors:
                raise NvmlError(self.errors[name])
            return self.answer(name, *args)

        return call

    def answer(self, name: str, *args: Any) -> Any:
        if name == "nvmlDeviceGetHandleByIndex" and args[0] in self.lost:
            raise NvmlError(15)
        self.open += {"nvmlInit": 1, "nvmlShutdown": -1}.get(name, 0)
        return {
            "nvmlDeviceGetCount": self.count,
            "nvmlDeviceGetHandleByIndex": args[0] if args else None,
            "nvmlDeviceGetName": b"NVIDIA H100",
            "nvmlDeviceGetUUID": "GPU-1",
            "nvmlSystemGetDriverVersion": "580.1",
            "nvmlDeviceGetMemoryInfo": Pair(),
            "nvmlDeviceGetUtilizationRates": Pair(),
            "nvmlDeviceGetPowerUsage": 99500,
            "nvmlDeviceGetTemperature": 41,
        }.get(name)


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
    assert judge_gpus(reading, expected=None) == ()


def test_a_driver_that_does_not_match_is_an_error() -> None:
    reading = read_gpus(FakeNvml(errors={"nvmlInit": 18}))
    assert reading.sweep is Sweep.ERROR
    assert judge_gpus(reading, expected=None)[0].condition is Condition.BLIND


def test_a_lost_gpu_is_a_failed_node_and_the_others_are_still_read() -> None:
    nvml = FakeNvml(lost=(0,))
    reading = read_gpus(nvml)
    assert ([g.index for g in reading.gpus], [x.index for x in reading.lost]) == ([1], [0])
    (finding,) = judge_gpus(reading, expected=2)
    assert (finding.entity, finding.code, finding.status) == ("gpu0", "gpu.lost", Verdict.BAD)
    assert finding.condition is Condition.FAILED
    assert nvml.open == 0


def test_a_value_that_the_gpu_does_not_offer_is_unknown() -> None:
    reading = read_gpus(FakeNvml(errors={"nvmlDeviceGetPowerUsage": 3, "nvmlDeviceGetTemperature": 13}))
    assert (reading.gpus[0].power_w, reading.gpus[0].temperature_c) == (None, None)


def test_fewer_gpus_than_promised_is_a_failed_node() -> None:
    (finding,) = judge_gpus(read_gpus(FakeNvml(count=1)), expected=2)
    assert (finding.code, finding.reason) == ("gpu.count", "1 of 2 GPUs answer")
    (finding,) = judge_gpus(Reading(Sweep.ABSENT, reason="no driver"), expected=2)
    assert finding.reason == "0 of 2 GPUs answer: no driver"


def test_a_sweep_under_way_says_nothing() -> None:
    assert judge_gpus(Reading(Sweep.PENDING), expected=2) == ()


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
    (finding,) = judge_gpus(first, expected=2)
    assert (finding.code, finding.status, finding.condition) == ("gpu.hung", Verdict.UNKNOWN, Condition.BLIND)


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


def test_lost_gpus_count_as_seen() -> None:
    reading = Reading(Sweep.OK, lost=(Lost(0, "x"), Lost(1, "y")))
    assert {f.code for f in judge_gpus(reading, expected=2)} == {"gpu.lost"}
