"""The gate: each part that is missing, or of another version, fails a boot and is named."""

from dataclasses import replace

import pytest
from dsops.core.drivers.boots import Outcome
from dsops.core.drivers.gate import MANAGER, PERSISTENCED, Asked, Facts, judge, render

from tests.core.drivers.sets import DEBIAN, OLDER, OPEN, make_facts

WELL = make_facts().asked


def failed(facts: Facts) -> list[str]:
    outcome, faults = judge(OPEN, facts)
    assert (outcome is Outcome.FAILED) == any(fault.fails for fault in faults)
    return [fault.code for fault in faults if fault.fails]


def test_a_boot_in_which_all_is_one_version_passes() -> None:
    assert judge(OPEN, make_facts()) == (Outcome.PASSED, ())


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"kernel": "6.8.0-79-generic"}, ["kernel", "module kernel"]),
        ({"nouveau": True}, ["nouveau"]),
        ({"file": "570.86.15"}, ["module file"]),
        ({"file": ""}, ["module file"]),
        ({"fits": "6.8.0-79-generic"}, ["module kernel"]),
        ({"libraries": {"libcuda.so.1": "570.86.15", "libnvidia-ml.so.1": "570.133.20"}}, ["library"]),
        ({"libraries": {"libcuda.so.1": "570.133.20"}}, ["library"]),
        ({"loaded": ""}, ["module"]),
        ({"loaded": "570.86.15"}, ["module"]),
        ({"services": {MANAGER: "failed", PERSISTENCED: "active"}}, ["service"]),
        ({"services": {MANAGER: "active"}}, ["service"]),
        ({"manager": "580.95.05"}, ["fabric version"]),
        ({"asked": Asked(hung=True, says="no answer in 60 s")}, ["driver"]),
        ({"asked": Asked(nvml=18, says="Driver/library version mismatch")}, ["nvml"]),
        ({"asked": replace(WELL, driver="570.86.15")}, ["nvml version"]),
        ({"asked": replace(WELL, gpus=7)}, ["gpus"]),
        ({"asked": replace(WELL, fabric=(3, 2))}, ["fabric"]),
        ({"asked": replace(WELL, cuda=802)}, ["cuda"]),
        ({"asked": replace(WELL, cuda=None)}, ["cuda"]),
    ],
)
def test_what_is_not_as_the_set_has_it_fails_the_boot(other: dict[str, object], code: list[str]) -> None:
    assert failed(make_facts(**other)) == code


def test_a_package_of_another_version_fails_and_one_that_is_not_held_is_only_told() -> None:
    pins = dict(OPEN.pins)
    assert failed(make_facts(packages=pins | {"nvidia-utils-570": "570.172.08-0ubuntu1"})) == ["package"]
    outcome, faults = judge(OPEN, make_facts(held=frozenset(pins) - {"nvidia-utils-570"}))
    assert outcome is Outcome.PASSED
    assert [fault.code for fault in faults] == ["hold"]


def test_a_set_without_fabric_manager_asks_nobody_for_its_fabric() -> None:
    facts = make_facts(DEBIAN, services={PERSISTENCED: "active"}, manager="")
    assert judge(DEBIAN, replace(facts, asked=replace(facts.asked, fabric=())))[0] is Outcome.PASSED


def test_without_a_gpu_nothing_passes_and_what_lies_on_the_disk_can_still_fail() -> None:
    bare = make_facts(DEBIAN, gpus=0, loaded="", services={}, manager="", asked=Asked())
    outcome, faults = judge(DEBIAN, bare)
    assert outcome is Outcome.NO_GPU
    assert "no GPU on PCI" in render(outcome, faults)
    outcome, faults = judge(DEBIAN, replace(bare, file=OLDER.driver))
    assert outcome is Outcome.FAILED
    assert render(outcome, faults) == "the module's file is 535.261.03, the set has 535.309.01"
