"""The GPUs' own families: from the last sweep and the kernel's lines, never from the driver."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from dsops.node.agent.metrics import GPU_NUMBERS, render_gpus
from dsops.node.sources.gpu_counters import GpuCounters
from dsops.node.sources.gpus import Reading, Sweep

from tests.node.checks.gpu_bed import HEALTHY, make_reading

Rows = dict[str, float]


def render(reading: Reading, counters: GpuCounters, xids: Mapping[tuple[str, str], int]) -> dict[str, Rows]:
    """Family -> gpu and the last label -> value."""
    found: dict[str, Rows] = {}
    for family in render_gpus(reading, counters, xids):
        rows = found.setdefault(family.name, {})
        for sample in family.samples:
            labels = {key: value for key, value in sample.labels.items() if key not in ("uuid", "name")}
            rows[" ".join(labels.values())] = sample.value
    return found


def test_every_number_of_every_gpu_is_there() -> None:
    page = render(HEALTHY, GpuCounters(), {})
    assert all(set(page[name]) == {"0", "1"} for name, _, _ in GPU_NUMBERS)
    assert page["dsops_gpu_nvlinks_active"]["0"] == 18


@pytest.mark.parametrize("change", [None, RuntimeError("Unknown Error")])
def test_what_is_not_known_is_no_series(change: Exception | None) -> None:
    page = render(make_reading({"ecc_corrected": change}), GpuCounters(), {})
    assert set(page["dsops_gpu_ecc_corrected_errors"]) == {"1"}


def test_minutes_of_throttling_are_told_by_whom() -> None:
    counters = GpuCounters()
    for minute in range(6):
        counters = counters.add(make_reading({"reasons": 0x40 if minute else 0}), at=60.0 * minute)
    page = render(HEALTHY, counters, {})["dsops_gpu_throttle_minutes"]
    assert page == {"0 throttle_hw": 5, "0 throttle_sw": 0, "1 throttle_hw": 0, "1 throttle_sw": 0}


def test_xids_are_counted_by_number_and_gpu_also_of_one_that_went() -> None:
    xids = {("Xid 79", "gpu3"): 2, ("Xid 13", "gpu 0000:3b:00"): 1, ("SXid 20034", "switch2"): 4}
    page = render(Reading(Sweep.OK), GpuCounters(), xids)
    assert page["dsops_xid"] == {"79 3": 2, "13 0000:3b:00": 1}
    assert page["dsops_sxid"] == {"20034 switch2": 4}
    assert not any(rows for name, rows in page.items() if name.startswith("dsops_gpu_"))


def test_a_gpu_that_went_leaves_no_series() -> None:
    counters = GpuCounters().add(HEALTHY, at=0.0).add(HEALTHY, at=5.0)
    page = render(replace(HEALTHY, gpus=HEALTHY.gpus[1:]), counters, {})
    assert all(not key.startswith("0") for rows in page.values() for key in rows)
