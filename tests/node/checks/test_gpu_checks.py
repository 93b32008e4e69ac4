"""Each check of the GPUs: healthy, at fault, flapping, mended, not readable and not there; with the shipped rules."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from dsops.core.checks import DRAINS, ORDER
from dsops.core.status import Condition, Measure, Phase, Verdict
from dsops.node.checks import gpus
from dsops.node.checks.check import Scene, look
from dsops.node.sources.gpu_values import KEYS
from dsops.node.sources.gpus import Lost, Reading, Sweep
from dsops.node.sources.kernel_log import Record
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node.checks.gpu_bed import RULES, SECONDS, SERVING, STOPPED, Bed, Changes, make_reading

BROKEN = RuntimeError("Unknown Error")
LONG = 500.0  # more than any rule here wants
FIRST = "gpu0"


@dataclass(frozen=True)
class Case:
    """changes: what is wrong. reads: the keys without which nothing can be said."""

    code: str
    changes: Changes
    reads: tuple[str, ...]
    measure: Measure = Measure.ALERT
    entity: str = FIRST


def grow(per_second: float) -> Callable[[int], float]:
    return lambda sweep: float(int(per_second * SECONDS * sweep))


PER_LANE = {"pcie_generation_max": 4.0, "pcie_generation": 4.0}
# From Blackwell on.
LINKS = {"nvlink_recoveries": 0.0, "nvlink_failed_recoveries": 0.0, "nvlink_faults": 0.0}
CASES = (
    Case("gpu.recovery_action", {"recovery_action": 1.0}, ("recovery_action",), Measure.RESET),
    Case("gpu.recovery_action", {"recovery_action": 2.0}, ("recovery_action",), Measure.REBOOT),
    Case("gpu.recovery_action", {"recovery_action": 3.0}, ("recovery_action",)),
    Case("gpu.recovery_action", {"recovery_action": 4.0}, ("recovery_action",), Measure.RESET),
    Case("gpu.recovery_action", {"recovery_action": 5.0}, ("recovery_action",)),
    Case("gpu.recovery_action", {"recovery_action": 6.0}, ("recovery_action",), Measure.RESET),
    Case("gpu.recovery_action", {"recovery_action": 7.0}, ("recovery_action",), Measure.REBOOT),
    Case("gpu.recovery_action", {"recovery_action": 99.0}, ("recovery_action",)),
    Case("gpu.ecc_dbe", {"ecc_uncorrected": 2.0}, ("ecc_uncorrected",)),
    Case("gpu.ecc_sbe_rate", {"ecc_corrected": grow(110)}, ("ecc_corrected",)),
    Case("gpu.ecc_sram", {"sram_exceeded": 1.0}, ("sram_exceeded",)),
    Case("gpu.ecc_mode", {"ecc_mode": 0.0}, ("ecc_mode", "ecc_mode_pending")),
    Case("gpu.ecc_mode", {"ecc_mode_pending": 0.0}, ("ecc_mode", "ecc_mode_pending")),
    Case("gpu.remap_pending", {"remap_pending": 1.0}, ("remap_pending",)),
    Case("gpu.remap_failed", {"remap_failed": 1.0}, ("remap_failed", "remapped_uncorrected"), Measure.REPLACE),
    Case("gpu.remap_failed", {"remapped_uncorrected": 512.0}, ("remapped_uncorrected",), Measure.REPLACE),
    Case("gpu.retired_pages", {"retired_sbe": 60.0, "retired_dbe": 3.0}, ("retired_sbe", "retired_dbe")),
    Case("gpu.retired_pages", {"retired_sbe": 0.0, "retired_dbe": 16.0}, ("retired_sbe", "retired_dbe")),
    Case(
        "gpu.retired_pages",
        {"retired_sbe": 0.0, "retired_dbe": 0.0, "retired_pending": 1.0},
        ("retired_sbe", "retired_dbe", "retired_pending"),
    ),
    Case("gpu.hot", {"temperature": 87.0}, ("temperature", "temperature_max")),
    Case("gpu.memory_hot", {"memory_temperature": 95.0}, ("memory_temperature", "memory_temperature_max")),
    Case("gpu.margin", {"margin": -2.0}, ("margin", "margin_slowdown")),
    Case("gpu.throttle_hw", {"reasons": 0x40}, ("reasons",)),
    Case("gpu.throttle_hw", {"reasons": 0x80}, ("reasons",)),
    Case("gpu.throttle_sw", {"reasons": 0x4}, ("reasons",), Measure.NONE),
    Case("gpu.clocks", {"clock": 345.0, "utilization": 90.0}, ("clock", "clock_max", "utilization")),
    Case("gpu.persistence", {"persistence": 0.0}, ("persistence",)),
    Case("gpu.inforom", {"inforom_corrupt": 1.0}, ("inforom_corrupt",)),
    Case("gpu.vbios", {"vbios": "95.00"}, ("vbios",), entity="gpus"),
    Case("nvlink.down", {"nvlinks_active": 17.0}, ("nvlinks_active",), Measure.RESET),
    Case("nvlink.errors", {"nvlink_replays": grow(0.2)}, ("nvlink_replays", "nvlink_crc")),
    Case("nvlink.errors", {"nvlink_crc": grow(110)}, ("nvlink_replays", "nvlink_crc")),
    Case("nvlink.recoveries", {**LINKS, "nvlink_recoveries": grow(0.04)}, tuple(LINKS)),
    Case("nvlink.recoveries", {**LINKS, "nvlink_failed_recoveries": grow(0.02)}, tuple(LINKS)),
    Case("nvlink.recoveries", {**LINKS, "nvlink_faults": grow(0.2)}, tuple(LINKS)),
    Case("fabric.state", {"fabric_state": 1.0}, ("fabric_state", "fabric_status", "fabric_summary")),
    Case("fabric.state", {"fabric_status": 999.0}, ("fabric_state", "fabric_status", "fabric_summary")),
    Case("fabric.state", {"fabric_summary": 2.0}, ("fabric_state", "fabric_status", "fabric_summary")),
    Case("pcie.width", {"pcie_width": 8.0}, ("pcie_width", "pcie_width_max")),
    Case(
        "pcie.generation",
        {"pcie_generation": 3.0, "utilization": 90.0},
        ("pcie_generation", "pcie_generation_max", "utilization"),
    ),
    Case(
        "pcie.replays", {"pcie_replays": grow(0.3), **PER_LANE}, ("pcie_replays", "pcie_width", "pcie_generation_max")
    ),
)
# What an H100 does not have.
PAGES = {"retired_sbe": 0.0, "retired_dbe": 0.0, "retired_pending": 0.0}
# Over a while: what flaps for long enough is one.
COUNTED = (
    *("gpu.ecc_dbe", "gpu.ecc_sbe_rate", "gpu.throttle_hw", "gpu.throttle_sw"),
    *("nvlink.errors", "nvlink.recoveries", "pcie.replays"),
)


def find_healthy(case: Case) -> Changes:
    """A GPU that has what the case is about, and is well."""
    return {"gpu.retired_pages": PAGES, "nvlink.recoveries": LINKS}.get(case.code, {"utilization": 90.0})


def name_case(case: Case) -> str:
    return f"{case.code} {', '.join(case.changes)}"


cases = pytest.mark.parametrize("case", CASES, ids=name_case)


def list_verdicts(bed: Bed) -> dict[Verdict, set[str]]:
    lines = bed.checkup.ledger.lines.values()
    return {verdict: {line.code for line in lines if line.verdict is verdict} for verdict in Verdict}


def test_healthy_gpus_have_nothing_for_long() -> None:
    bed = Bed()
    assert bed.sweep_so({}, seconds=LONG) == {}
    seen = list_verdicts(bed)
    assert seen[Verdict.BAD] == seen[Verdict.UNKNOWN] == set()
    every = {code for check in gpus.CHECKS for code in check.codes}
    assert every - seen[Verdict.OK] == {"gpu.retired_pages", "nvlink.recoveries"}
    assert bed.checkup.skipped == {
        "gpu.retired_pages": "no GPU here tells retired pages: those from Ampere on have none",
        "nvlink.recoveries": "no GPU here tells recoveries of NVLinks: those before Blackwell have none",
    }


@cases
def test_a_fault_is_found_on_the_gpu_that_has_it_and_on_no_other(case: Case) -> None:
    found = Bed().sweep_so(case.changes, seconds=LONG)
    assert set(found) == {f"{case.entity} {case.code}"}
    finding = found[f"{case.entity} {case.code}"]
    assert (finding.status, finding.measure) == (Verdict.BAD, case.measure)
    assert finding.reason
    assert finding.mend


@cases
def test_it_is_over_when_it_is_mended(case: Case) -> None:
    bed = Bed(code=case.code)
    bed.sweep_so(case.changes, seconds=LONG)
    # A counter stands still where it was; all else is as before.
    last = {key: change(int(LONG / SECONDS)) for key, change in case.changes.items() if callable(change)}
    healthy = find_healthy(case)
    assert bed.sweep_so({**healthy, **last}, seconds=2000.0) == {}


@pytest.mark.parametrize("case", [case for case in CASES if case.code not in COUNTED], ids=name_case)
def test_what_comes_and_goes_with_each_sweep_is_none(case: Case) -> None:
    healthy = find_healthy(case)
    bed = Bed(code=case.code)
    for sweep in range(100):
        bed.sweep(make_reading(case.changes if sweep % 2 else healthy))
    assert bed.find() == {}


@cases
def test_what_cannot_be_read_is_unknown_and_no_more_than_told(case: Case) -> None:
    for key in case.reads:
        bed = Bed(code=case.code)
        base = find_healthy(case)
        found = bed.sweep_so({**base, key: BROKEN}, seconds=100.0)
        assert bed.get_verdict(case.code, case.entity) is Verdict.UNKNOWN, key
        told = found[f"{case.entity} {case.code}"]
        assert (told.status, told.measure, told.condition) == (Verdict.UNKNOWN, Measure.ALERT, Condition.BLIND)
        assert "Unknown Error" in told.reason


@cases
def test_what_no_gpu_offers_is_skipped_with_the_reason(case: Case) -> None:
    bed = Bed(code=case.code)
    bed.sweep_so(dict.fromkeys(case.reads), seconds=30.0, gpus=(0, 1))
    assert bed.get_verdict(case.code, case.entity) is None
    assert bed.checkup.skipped[case.code]


@cases
def test_a_fault_that_cannot_be_read_any_more_is_not_over(case: Case) -> None:
    bed = Bed(code=case.code)
    bed.sweep_so(case.changes, seconds=LONG)
    found = bed.sweep_so(dict.fromkeys(case.reads, BROKEN), seconds=LONG)
    assert found[f"{case.entity} {case.code}"].status is Verdict.BAD


READS = {case.code: set(case.reads) for case in CASES if case.entity == FIRST}
states = st.dictionaries(st.sampled_from(KEYS), st.sampled_from((None, BROKEN)))


@settings(max_examples=60)
@given(states)
def test_nothing_is_ok_that_could_not_be_read_and_nothing_is_done_about_it(
    changes: dict[str, Exception | None],
) -> None:
    bed = Bed()
    found = bed.sweep_so(changes, seconds=100.0, gpus=(0, 1))
    broken = {key for key, change in changes.items() if change is not None}
    for code, reads in READS.items():
        if reads & broken:
            assert bed.get_verdict(code, FIRST) is not Verdict.OK, code
    assert all(ORDER.index(one.measure) <= ORDER.index(Measure.ALERT) for one in found.values())
    assert all(one.status is Verdict.UNKNOWN or one.code == "gpu.power_unreadable" for one in found.values())


# --- what has its own ways --------------------------------------------------------------------------------------


def test_a_power_sensor_that_does_not_answer_is_the_finding_itself() -> None:
    found = Bed().sweep_so({"power": BROKEN}, seconds=100.0)
    finding = found["gpu0 gpu.power_unreadable"]
    assert (finding.status, finding.measure, finding.excuses) == (Verdict.BAD, Measure.ALERT, False)


def test_a_fresh_memory_error_is_a_reason_to_start_afresh_and_an_old_one_is_not() -> None:
    bed = Bed()
    bed.sweep_so({}, seconds=50.0)
    fresh = bed.sweep_so({"ecc_uncorrected": 1.0}, seconds=10.0)["gpu0 gpu.ecc_dbe"]
    assert (fresh.measure, fresh.excuses) == (Measure.RESTART, True)
    old = bed.sweep_so({"ecc_uncorrected": 1.0}, seconds=1850.0)["gpu0 gpu.ecc_dbe"]
    assert (old.measure, old.excuses) == (Measure.ALERT, False)


@pytest.mark.parametrize("action", [1.0, 2.0, 4.0])
def test_the_drivers_verdict_hides_what_led_to_it(action: float) -> None:
    changes = {"recovery_action": action, "remap_pending": 1.0, "ecc_uncorrected": 1.0}
    assert set(Bed().sweep_so(changes, seconds=100.0)) == {"gpu0 gpu.recovery_action"}


def test_heat_hides_that_the_gpu_is_slow() -> None:
    changes = {"temperature": 90.0, "margin": -3.0, "reasons": 0x48, "clock": 345.0, "utilization": 99.0}
    assert set(Bed().sweep_so(changes, seconds=LONG)) == {"gpu0 gpu.hot"}


@pytest.mark.parametrize("minutes", [5, 6])
def test_six_minutes_of_throttling_in_ten_are_too_many(minutes: int) -> None:
    def throttle(sweep: int) -> float:
        return 0x8 if sweep % 12 == 6 and 12 <= sweep < 12 * (minutes + 1) else 1

    found = Bed().sweep_so({"reasons": throttle}, seconds=(minutes + 2) * 60.0)
    assert (set(found) == {"gpu0 gpu.throttle_hw"}) is (minutes == 6)


@pytest.mark.parametrize(
    "changes",
    [
        {"clock": 345.0, "utilization": 0.0},
        {"pcie_generation": 1.0, "utilization": 0.0},
        {"margin": 0.0},
        {"ecc_corrected": grow(50)},
        {"pcie_replays": grow(0.1)},
        {"reasons": 1.0},
        {"nvlink_replays": grow(0.1)},
    ],
)
def test_what_is_no_fault_is_none(changes: Changes) -> None:
    assert Bed().sweep_so(changes, seconds=LONG) == {}


def test_without_a_baseline_no_link_is_missed() -> None:
    bed = Bed(baseline={})
    assert bed.sweep_so({"nvlinks_active": 3.0}, seconds=LONG) == {}
    assert "dsops baseline" in bed.checkup.skipped["nvlink.down"]
    assert {(one.entity, one.key) for one in bed.checkup.board.find_normal()} == {
        ("gpu0", "nvlinks_active"),
        ("gpu1", "nvlinks_active"),
    }


def test_a_counter_that_begins_anew_is_no_storm() -> None:
    bed = Bed()
    bed.sweep_so({"ecc_corrected": 5e9}, seconds=100.0)
    assert bed.sweep_so({"ecc_corrected": 0.0}, seconds=LONG) == {}


TAKEN = {"memory_used": 7.0, "utilization": 30.0}


@pytest.mark.parametrize(
    ("waiting", "load", "is_found"), [(4.0, 30.0, True), (0.0, 30.0, False), (4.0, 85.0, False), (None, 0.0, False)]
)
def test_idle_gpus_are_a_fault_only_while_requests_wait(waiting: float | None, load: float, is_found: bool) -> None:
    bed = Bed()
    bed.slots = (replace(SERVING, waiting=waiting),)
    found = bed.sweep_so({**TAKEN, "utilization": load}, seconds=LONG, gpus=(0, 1))
    assert set(found) == ({"gpus gpu.idle"} if is_found else set())


def test_idle_gpus_are_no_fault_any_more_when_the_engine_stops() -> None:
    bed = Bed()
    bed.slots = (replace(SERVING, waiting=9.0),)
    assert "gpus gpu.idle" in bed.sweep_so(TAKEN, seconds=LONG, gpus=(0, 1))
    bed.slots = (STOPPED,)
    assert bed.sweep_so(TAKEN, seconds=60.0, gpus=(0, 1)) == {}


def test_a_gpu_that_does_not_tell_its_load_hides_no_other() -> None:
    bed = Bed()
    bed.slots = (replace(SERVING, waiting=9.0),)
    for sweep in range(100):
        one = make_reading(TAKEN, sweep, gpus=(0, 1))
        bed.sweep(replace(one, values=tuple(v for v in one.values if (v.gpu, v.key) != (1, "utilization"))))
    assert "gpus gpu.idle" in bed.find()


def test_idle_gpus_that_no_engine_has_taken_are_none() -> None:
    bed = Bed()
    bed.slots = (replace(SERVING, waiting=9.0),)
    changes = {"memory_used": 0.0, "utilization": 0.0}
    assert bed.sweep_so(changes, seconds=LONG, gpus=(0, 1)) == {}


def test_idle_gpus_are_unknown_when_their_load_cannot_be_read() -> None:
    bed = Bed()
    bed.slots = (replace(SERVING, waiting=9.0),)
    bed.sweep_so({**TAKEN, "utilization": BROKEN}, seconds=100.0)
    assert bed.get_verdict("gpu.idle", "gpus") is Verdict.UNKNOWN


LEFT = {"memory_used": 9e9, "memory_total": 8e10}


@pytest.mark.parametrize(
    ("changes", "phase", "is_found"),
    [
        (LEFT, Phase.STOPPED, True),
        (LEFT, Phase.UNKNOWN, False),
        (LEFT, Phase.LOADING, False),
        ({**LEFT, "processes": 1.0}, Phase.STOPPED, False),
        ({**LEFT, "memory_used": 5e8}, Phase.STOPPED, False),
    ],
)
def test_memory_that_nobody_can_own_is_an_orphan(changes: Changes, phase: Phase, is_found: bool) -> None:
    bed = Bed()
    bed.slots = (replace(STOPPED, phase=phase),)
    assert set(bed.sweep_so(changes, seconds=200.0)) == ({"gpu0 gpu.orphans"} if is_found else set())
    bed.sweep_so({**changes, "processes": BROKEN}, seconds=10.0)
    assert bed.get_verdict("gpu.orphans", FIRST) is Verdict.UNKNOWN


# --- the sweep itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sweep", [Sweep.HUNG, Sweep.DEAD, Sweep.ERROR])
def test_a_blind_sweep_is_told_at_once_as_unknown_and_is_over_at_once(sweep: Sweep) -> None:
    bed = Bed()
    bed.sweep_so({"temperature": 90.0}, seconds=100.0)
    bed.sweep(Reading(sweep, reason="no answer"))
    finding = bed.find()[f"gpus gpu.{sweep}"]
    assert (finding.status, finding.condition, finding.reason) == (Verdict.UNKNOWN, Condition.BLIND, "no answer")
    assert finding.measure is Measure.ALERT
    assert "no answer" in bed.checkup.skipped["gpu.hot"]
    # What was found before is not over because nobody can look.
    assert "gpu0 gpu.hot" in bed.find()
    bed.sweep(make_reading({}))
    assert f"gpus gpu.{sweep}" not in bed.find()


LOST = Lost(0, "GPU 0: GPU is lost", 15)


def lose(lost: Lost) -> Reading:
    whole = make_reading({})
    rest = tuple(one for one in whole.values if one.gpu != lost.index)
    return replace(whole, gpus=whole.gpus[1:], lost=(lost,), values=rest)


def test_a_lost_gpu_is_confirmed_by_the_next_sweep_and_stays_lost() -> None:
    bed = Bed()
    bed.sweep_so({"temperature": 90.0}, seconds=100.0)
    bed.sweep(lose(LOST))
    assert "gpu0 gpu.lost" not in bed.find()
    bed.sweep(lose(LOST))
    # It hides the rest of that GPU.
    assert {name: one.measure for name, one in bed.find().items()} == {"gpu0 gpu.lost": Measure.REBOOT}
    assert "gpu0 gpu.lost" in bed.sweep_so({}, seconds=LONG)


def test_a_gpu_that_wants_a_reset_is_well_after_it() -> None:
    bed = Bed()
    for _ in range(2):
        bed.sweep(lose(Lost(0, "GPU 0: GPU requires restart", 16)))
    assert {name: one.measure for name, one in bed.find().items()} == {"gpu0 gpu.reset_required": Measure.RESET}
    assert bed.sweep_so({}, seconds=60.0) == {}


def test_a_gpu_that_answers_with_another_error_may_be_there() -> None:
    bed = Bed()
    for _ in range(30):
        bed.sweep(lose(Lost(0, "GPU 0: Unknown Error", 999)))
    assert {name: (one.status, one.measure) for name, one in bed.find().items()} == {
        "gpu0 gpu.lost": (Verdict.UNKNOWN, Measure.ALERT)
    }


@pytest.mark.parametrize(
    "reading",
    [
        replace(make_reading({}), gpus=make_reading({}).gpus[1:]),
        Reading(Sweep.ABSENT, reason="the NVIDIA driver is not loaded"),
    ],
)
def test_missing_gpus_are_a_finding_after_half_a_minute(reading: Reading) -> None:
    bed = Bed()
    for _ in range(6):
        bed.sweep(reading)
    assert bed.find() == {}
    bed.sweep(reading)
    finding = bed.find()["gpus gpu.count"]
    assert finding.measure in DRAINS
    assert finding.reason.startswith(f"{len(reading.gpus)} of 2 GPUs answer")
    assert reading.reason in finding.reason


@pytest.mark.parametrize(("expected", "says"), [(None, "agent_gpus"), (0, "should have no GPU")])
def test_where_no_number_is_promised_none_is_missed(expected: int | None, says: str) -> None:
    bed = Bed(expected=expected)
    for _ in range(20):
        bed.sweep(Reading(Sweep.ABSENT, reason="no driver"))
    assert bed.find() == {}
    assert says in bed.checkup.skipped["gpu.count"]
    assert bed.checkup.skipped["gpu.hot"] == "no GPU is here: no driver"


def test_one_card_has_nothing_to_be_compared_with() -> None:
    whole = make_reading({})
    alone = replace(whole, gpus=whole.gpus[:1], values=tuple(one for one in whole.values if not one.gpu))
    outcome = look(gpus.CHECKS, Scene(1e9, 1.0, "b", gpus=alone, limits=RULES.limits))
    assert "one GPU" in outcome.skipped["gpu.vbios"]


def test_a_gpu_that_left_the_bus_is_why_one_is_missing() -> None:
    bed = Bed()
    bed.sweep(make_reading({}))
    gone = replace(make_reading({}), gpus=make_reading({}).gpus[1:])
    text = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus."
    bed.checkup.take_records([Record(1, 3, bed.ticks, text)], now=bed.ticks, wall=1e9 + bed.ticks)
    for _ in range(20):
        bed.sweep(gone)
    assert [one.partition(" ")[2] for one in bed.find()] == ["xid.79"]
