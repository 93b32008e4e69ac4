"""What is read of each GPU: every value by itself, through a fake of pynvml."""

from typing import Any

import pytest
from dsops.node.sources.gpu_counters import GpuCounters, name_of
from dsops.node.sources.gpu_values import KEYS, SLOW, Earlier, Value
from dsops.node.sources.gpus import Lost, Reading, Sweep, read_gpus
from dsops.node.sources.unread import Unread

from tests.node.sources.fake_nvml import FakeNvml

OLD = {"retired_sbe", "retired_dbe", "retired_pending"}
NEWER = {"nvlink_recoveries", "nvlink_failed_recoveries", "nvlink_faults"}
CALLS: dict[str | int, set[str]] = {
    "nvmlDeviceGetPowerUsage": {"power"},
    "nvmlDeviceGetEccMode": {"ecc_mode", "ecc_mode_pending"},
    "nvmlDeviceGetMemoryInfo": {"memory_used", "memory_total"},
    "nvmlDeviceGetNvLinkState": {"nvlinks", "nvlinks_active"},
    "nvmlDeviceGetSramEccErrorStatus": {"sram_exceeded"},
    "nvmlDeviceValidateInforom": {"inforom_corrupt"},
    "nvmlDeviceGetVbiosVersion": {"vbios"},
    "nvmlDeviceGetFieldValues": {"recovery_action", "memory_temperature", "margin_slowdown", *OLD},
    230: {"recovery_action"},
    163: {"nvlink_crc"},
    161: {"nvlink_replays"},
}
# Other values that nobody asks for without these.
WITH: dict[str, set[str]] = {
    "nvmlDeviceGetNvLinkState": set(),
    "nvmlDeviceGetFieldValues": {"nvlink_replays", "nvlink_crc"},
}


def read(nvml: FakeNvml, gpu: int = 0) -> dict[str, Value]:
    return {value.key: value for value in read_gpus(nvml).values if value.gpu == gpu}


def test_a_healthy_gpu_tells_all_but_what_only_older_ones_have() -> None:
    values = read(FakeNvml())
    assert set(values) == set(KEYS) - OLD - NEWER
    assert not any(value.error for value in values.values())
    assert values["vbios"].text == "96.00"
    assert values["margin_slowdown"].number == -2
    assert (values["nvlinks"].number, values["nvlinks_active"].number) == (18, 18)


@pytest.mark.parametrize("call", CALLS)
def test_an_error_is_kept_as_text_and_takes_nothing_else_with_it(call: str | int) -> None:
    reading = read_gpus(FakeNvml(errors={call: 999}))
    values = {value.key: value for value in reading.values if value.gpu == 0}
    broken = CALLS[call] | WITH.get(str(call), set())
    assert {key for key, value in values.items() if value.error} == broken
    assert all(values[key].number is None and values[key].error == "error 999" for key in broken)
    assert len(reading.gpus) == 2


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", [3, 13])
def test_what_is_not_offered_is_not_there(call: str | int, code: int) -> None:
    values = read(FakeNvml(errors={call: code}))
    gone = {key for key in KEYS if key not in values} - OLD - NEWER
    partly = {"nvlink_replays"} if call == 161 else set()  # the other half of the sum is there
    links = {"nvlink_replays", "nvlink_crc"} if call in WITH else set()
    assert gone == (CALLS[call] - OLD - partly) | links
    assert not any(value.error for value in values.values())


@pytest.mark.parametrize("call", ["nvmlDeviceGetPowerUsage", "nvmlDeviceGetFieldValues", 230])
@pytest.mark.parametrize("code", [15, 16])
def test_a_gpu_that_is_gone_is_gone_whatever_was_asked(call: str | int, code: int) -> None:
    reading = read_gpus(FakeNvml(errors={call: code}))
    assert reading.lost == tuple(Lost(index, f"GPU {index}: error {code}", code) for index in range(2))
    assert (reading.gpus, reading.values) == ((), ())


def test_a_gpu_of_which_nothing_can_be_read_is_one_that_does_not_answer() -> None:
    class Silent(FakeNvml):
        def answer(self, name: str, *args: Any) -> Any:
            if args and name not in ("nvmlDeviceGetHandleByIndex", "nvmlDeviceGetName", "nvmlDeviceGetUUID"):
                raise self.NVMLError(999)
            return super().answer(name, *args)

    whole: dict[str | int, int] = dict.fromkeys((*CALLS, "nvmlDeviceGetGpuFabricInfoV"), 999)
    reading = read_gpus(Silent(count=1, errors=whole))
    assert reading.lost == (Lost(0, "GPU 0: nothing of it can be read: error 999"),)
    assert reading.gpus == ()


def test_a_blackwell_tells_of_its_links_by_other_fields() -> None:
    newer = dict.fromkeys((206, 207, 208, 210, 211, 214, 215), (3, 1))
    values = read(FakeNvml(errors=dict.fromkeys((161, 162, 163), 3), fields=newer))
    assert not values.keys() & {"nvlink_replays", "nvlink_crc"}
    assert {key: values[key].number for key in NEWER} == {
        "nvlink_recoveries": 18, "nvlink_failed_recoveries": 18, "nvlink_faults": 90,
    }  # fmt: skip
    broken = read(FakeNvml(errors={**dict.fromkeys((161, 162, 163), 3), 208: 999}, fields=newer))
    assert broken["nvlink_faults"].error == "error 999"
    assert broken["nvlink_recoveries"].number == 18


def test_the_newer_fields_are_not_asked_of_a_gpu_that_has_the_older_ones() -> None:
    nvml = FakeNvml(count=1)
    read_gpus(nvml)
    assert nvml.calls.count("nvmlDeviceGetFieldValues") == 2


def test_a_binding_that_answers_in_another_way_breaks_one_value_only() -> None:
    values = read(FakeNvml(answers={"nvmlDeviceGetEccMode": 5, "nvmlDeviceGetRemappedRows": (1, 2)}))
    broken = {key for key, value in values.items() if value.error}
    rows = {"remapped_corrected", "remapped_uncorrected", "remap_pending", "remap_failed"}
    assert broken == {"ecc_mode", "ecc_mode_pending", *rows}
    assert values["ecc_mode"].error.startswith("TypeError: ")


def test_a_corrupt_inforom_is_a_value_and_no_error() -> None:
    assert read(FakeNvml(errors={"nvmlDeviceValidateInforom": 14}))["inforom_corrupt"].number == 1


def test_a_driver_that_does_not_tell_its_version_is_read_all_the_same() -> None:
    reading = read_gpus(FakeNvml(errors={"nvmlSystemGetDriverVersion": 999, "nvmlDeviceGetPciInfo": 999}))
    assert (reading.sweep, reading.driver, len(reading.gpus)) == (Sweep.OK, "", 2)


def test_what_takes_long_is_read_again_after_a_while_only() -> None:
    now = [0.0]
    nvml, earlier = FakeNvml(count=1), Earlier(clock=lambda: now[0])

    def count() -> tuple[int, int]:
        nvml.calls.clear()
        reading = read_gpus(nvml, earlier)
        assert {value.key for value in reading.values} == set(KEYS) - OLD - NEWER
        return nvml.calls.count("nvmlDeviceValidateInforom"), nvml.calls.count("nvmlDeviceGetFieldValues")

    assert count() == (1, 2)
    assert count() == (0, 1)
    now[0] = SLOW["links"]
    assert count() == (0, 2)
    now[0] = SLOW["inforom_corrupt"]
    assert count() == (1, 2)
    nvml.lost = (0,)
    read_gpus(nvml, earlier)
    nvml.lost = ()
    assert count() == (1, 2)


def test_an_error_of_what_takes_long_is_not_kept() -> None:
    nvml, earlier = FakeNvml(count=1, errors={"nvmlDeviceValidateInforom": 999}), Earlier(clock=lambda: 0.0)
    read_gpus(nvml, earlier)
    nvml.errors.clear()
    assert read_gpus(nvml, earlier).find_number(0, "inforom_corrupt") == 0


# --- counted over a while ---------------------------------------------------------------------------------------


def count_all(*readings: tuple[float, Reading]) -> GpuCounters:
    counters = GpuCounters()
    for at, reading in readings:
        counters = counters.add(reading, at=at)
    return counters


def test_counters_grow_and_work_is_added_up() -> None:
    busy = {"nvmlDeviceGetPcieReplayCounter": 30}
    counters = count_all((100.0, read_gpus(FakeNvml())), (130.0, read_gpus(FakeNvml(answers=busy)))).counters
    assert counters.rate(name_of(0, "pcie_replays"), 60) == 1
    assert counters.rate(name_of(1, "work"), 60) == 55 * 1000


def test_minutes_of_throttling_are_counted_once_each() -> None:
    hot = read_gpus(FakeNvml(answers={"nvmlDeviceGetCurrentClocksEventReasons": 0x48}))
    cold = read_gpus(FakeNvml())
    counters = count_all((0.0, cold), (60.0, hot), (65.0, hot), (121.0, hot), (600.0, cold)).counters
    assert counters.grown(name_of(0, "throttle_hw"), 600) == 2
    assert counters.grown(name_of(0, "throttle_sw"), 600) == 0


def test_what_cannot_be_read_is_unread_and_other_gpus_begin_anew() -> None:
    broken = read_gpus(FakeNvml(errors={"nvmlDeviceGetPcieReplayCounter": 999}))
    counters = count_all((0.0, read_gpus(FakeNvml())), (5.0, broken), (6.0, Reading(Sweep.HUNG)))
    assert counters.counters.grown(name_of(0, "pcie_replays"), 60) == Unread("error 999")
    assert count_all((0.0, read_gpus(FakeNvml())), (5.0, read_gpus(FakeNvml(count=1)))).counters.samples[0][0] == 5.0
