"""The checks of what is served: what each finds and when, what it cannot say, and that no failed reading is OK."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from dsops.core.status import Measure, Phase, Verdict
from dsops.node.checks.check import Scene, look
from dsops.node.checks.serving import CHECKS
from dsops.node.checks.serving.garbage import find_repeats, find_unprintable
from dsops.node.sources.cgroups import Use
from dsops.node.sources.serving import FAILED, RELAYED, REQUESTS, ServingSeen, SlotServing
from dsops.node.sources.unread import Unread
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.node.checks.serving_bed import BROKEN, GIB, RULES, TOLD, Bed, Change, Slot, make_asked, make_passport

CODES = {code for check in CHECKS for code in check.codes}


@pytest.fixture
def bed() -> Bed:
    made = Bed()
    assert made.live(600) == set()
    return made


def tell(**values: float) -> Change:
    def change(slot: Slot) -> None:
        slot.told = slot.told if isinstance(slot.told, Unread) else {**slot.told, **values}

    return change


def grow(**steps: float) -> Change:
    return lambda slot: slot.growth.update(steps)


def answer(text: str = "It is 43.", **words: Any) -> Change:
    words = {"is_right": False} | words
    return lambda slot: setattr(slot, "answer", make_asked(text, **words))


def put(**words: object) -> Change:
    def change(slot: Slot) -> None:
        for key, value in words.items():
            setattr(slot, key, value)

    return change


def both(*changes: Change) -> Change:
    return lambda slot: [change(slot) for change in changes]


LANGUAGE = "The sum of twelve and thirty is forty-three, since ten and thirty are forty and three more are added to it."


@dataclass(frozen=True)
class Fault:
    """early: seconds after which it is not told yet, late: after which it is. over: seconds in which it ends."""

    code: str
    do: Change
    mend: Change
    early: float
    late: float
    over: float


SPEED = {"is_right": True}
FAULTS = (
    Fault("serving.garbage", answer(" a" * 20), answer(), 5, 15, 60),
    Fault("serving.garbage", answer("!" * 30), answer(LANGUAGE), 5, 15, 60),
    Fault("serving.garbage", answer("caf\ufffd\ufffd \ufffd\x00 of it"), answer("naïve: 東京 🙂"), 5, 15, 60),
    Fault("serving.garbage", answer("\n "), answer(), 5, 15, 60),
    Fault("serving.garbage", answer("so it is that " * 12), answer(), 5, 15, 60),
    Fault("serving.nans", tell(nans=1.0), tell(), 0, 5, 1300),
    Fault("serving.errors", grow(**{FAILED: 1}), grow(**{FAILED: 0}), 25, 60, 400),
    Fault("serving.per_token", answer(per_token=0.021, **SPEED), answer(**SPEED), 280, 300, 700),
    Fault("serving.first_token", answer(first_token=0.21, **SPEED), answer(**SPEED), 280, 300, 700),
    Fault("serving.queue", tell(waiting=8.0), tell(waiting=0.0), 295, 310, 60),
    Fault("serving.kv_cache", both(tell(cache_used=0.97), grow(preemptions=1)), tell(cache_used=0.5), 595, 620, 60),
    Fault("serving.metrics_silent", put(told=BROKEN), put(told=TOLD), 55, 70, 60),
    Fault("serving.metrics_frozen", grow(generated=0), grow(generated=50), 170, 200, 60),
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.code)
def test_a_fault_is_found_in_time_and_not_early_and_it_ends(bed: Bed, fault: Fault) -> None:
    fault.do(bed.slot)
    if fault.early:
        assert bed.live(fault.early) == set()
    assert bed.live(fault.late - fault.early) == {fault.code}
    [finding] = bed.find()
    assert (finding.entity, finding.measure) == ("slot a", Measure.ALERT)
    assert (finding.reason != "", finding.mend != "", finding.excuses) == (True, True, False)
    fault.mend(bed.slot)
    assert bed.live(fault.over) == set()
    assert bed.find() == ()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.code)
def test_what_was_wrong_with_a_slot_is_over_when_it_was_stopped(bed: Bed, fault: Fault) -> None:
    fault.do(bed.slot)
    assert bed.live(fault.late) == {fault.code}
    put(phase=Phase.STOPPED, told=Unread("connection refused"), answer=None)(bed.slot)
    assert bed.live(700) == set()
    assert bed.find() == ()


def test_all_is_told_and_nothing_excuses_a_release() -> None:
    for code in CODES:
        rule = RULES.rules[code]
        assert rule.measure is Measure.ALERT, code
        assert not rule.find_excuse(rule.measure), code


# --- well, though it may look otherwise -------------------------------------------------------------------------------

NO_FAULT: dict[str, Change] = {
    "a right answer may repeat itself": answer("ha" * 40, is_right=True),
    "a wrong answer is another check's": answer(LANGUAGE),
    "an answer cut within a letter": answer("It is forty-thre\ufffd"),
    "a full cache that nobody waits for": tell(cache_used=1.0),
    "a cache with room whose engine puts requests off": grow(preemptions=1),
    "a short queue": tell(waiting=7.0),
    "few errors of many": grow(**{REQUESTS: 100, FAILED: 1}),
    "an engine at rest": grow(**{"generated": 0, RELAYED: 0, REQUESTS: 0}),
    "slow beside others": answer(per_token=9.0, first_token=9.0, is_right=True, is_alone=False),
    "an answer whose tokens nobody counted": answer(per_token=None, first_token=None, is_right=True),
    "a little slower than its passport": answer(per_token=0.019, first_token=0.19, is_right=True),
    "a passport without a rate": both(put(passport=make_passport(None)), answer(per_token=9.0, is_right=True)),
}


@pytest.mark.parametrize("name", NO_FAULT)
def test_no_fault(bed: Bed, name: str) -> None:
    NO_FAULT[name](bed.slot)
    assert bed.live(1200) == set()
    assert bed.find() == ()


def test_a_queue_that_empties_now_and_then_is_none(bed: Bed) -> None:
    for _ in range(10):
        tell(waiting=50.0)(bed.slot)
        assert bed.live(250) == set()
        tell(waiting=0.0)(bed.slot)
        assert bed.live(5) == set()


def test_a_failure_of_few_requests_is_no_finding(bed: Bed) -> None:
    bed.forget_counts()
    bed.slot.growth[REQUESTS] = 0
    bed.live(60)
    bed.slot.growth[REQUESTS] = bed.slot.growth[FAILED] = 1
    assert bed.live(95) == set()
    bed.slot.growth[FAILED] = 0
    assert bed.live(60) == {"serving.errors"}


def test_an_engine_that_counts_no_preemptions_is_pressed_when_requests_wait(bed: Bed) -> None:
    bed.forget_counts()
    bed.slot.told = {"cache_used": 0.99, "waiting": 0.0}
    assert bed.live(900) == set()
    tell(waiting=2.0)(bed.slot)
    assert bed.live(620) == {"serving.kv_cache"}


# --- memory that creeps -----------------------------------------------------------------------------------------------


def creep(bed: Bed, mib_an_hour: float, *, hours: float) -> set[str]:
    bed.slot.growth["memory"] = mib_an_hour * (1 << 20) / 60
    return bed.live(hours * 3600, step=60)


def test_memory_that_grows_hour_by_hour_and_will_not_last_the_day_is_told_after_hours(bed: Bed) -> None:
    assert creep(bed, 4096, hours=2) == set()
    assert creep(bed, 4096, hours=0.75) == {"serving.memory_creep"}
    [finding] = bed.find()
    assert "4096 MiB an hour" in finding.reason
    assert "last 16 h" in finding.reason
    # A cache that filled up: it stopped.
    assert creep(bed, 0, hours=1.5) == set()


def test_memory_that_lasts_for_days_is_not(bed: Bed) -> None:
    assert creep(bed, 2048, hours=6) == set()
    assert bed.get_verdicts()["serving.memory_creep"] is Verdict.OK


def test_the_bound_of_the_unit_counts_before_that_of_the_server(bed: Bed) -> None:
    bed.slot.use = Use(4 * GIB, 10 * GIB)
    assert creep(bed, 1024, hours=3) == {"serving.memory_creep"}


def test_what_requests_take_and_give_back_is_no_creep(bed: Bed) -> None:
    for number in range(6 * 60):
        bed.slot.use = Use(int((4 + 20 * (number % 4) / 4) * GIB))
        bed.live(60, step=60)
    assert bed.find() == ()


def test_until_there_are_hours_to_compare_nothing_is_said(bed: Bed) -> None:
    creep(bed, 9000, hours=1.5)
    assert "serving.memory_creep" not in bed.get_verdicts()


# --- what cannot be read, or is not there -----------------------------------------------------------------------------

UNREAD: dict[str, tuple[Change, set[str]]] = {
    "the page": (put(told=BROKEN), {"serving.queue", "serving.kv_cache", "serving.nans", "serving.metrics_frozen"}),
    "what the gateway relayed": (put(relayed=BROKEN), {"serving.metrics_frozen"}),
    "clients' requests": (put(clients={REQUESTS: BROKEN, FAILED: 0}), {"serving.errors"}),
    "clients' failures": (put(clients={REQUESTS: 5, FAILED: BROKEN}), {"serving.errors"}),
    "the passport": (put(passport=BROKEN), {"serving.per_token", "serving.first_token"}),
    "its memory": (put(use=BROKEN), {"serving.memory_creep"}),
    "the server's memory": (put(room=BROKEN), {"serving.memory_creep"}),
    "the answer": (put(answer=make_asked("", is_right=None, is_answer=False, says="timeout")), {"serving.garbage"}),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_read_is_unknown_and_told_after_a_minute(bed: Bed, name: str) -> None:
    creep(bed, 0, hours=3)
    change, codes = UNREAD[name]
    change(bed.slot)
    bed.live(30)
    bed.live(360, step=60)
    verdicts = bed.get_verdicts()
    assert {verdicts[code] for code in codes} == {Verdict.UNKNOWN}
    if name == "the page":  # one cause is told, and what it hides is not
        assert [one.code for one in bed.find()] == ["serving.metrics_silent"]
    else:
        assert bed.find_blind() == codes


MISSING: dict[str, tuple[Change, str, str]] = {
    "waiting": (put(told={"generated": 5.0}), "serving.queue", "no engine here tells how many requests wait"),
    "cache": (put(told={"generated": 5.0}), "serving.kv_cache", "no engine here tells how full"),
    "nans": (put(told={"generated": 5.0}), "serving.nans", "no engine here tells whether it computed a NaN"),
    "gateway": (put(clients={}), "serving.errors", "no gateway here counts"),
    "passport": (put(passport=None), "serving.speed", "no release here has a passport"),
    "rate": (put(passport=make_passport(None)), "serving.speed", "no passport here has a token rate"),
    "memory": (put(use=Unread("no such file", is_missing=True)), "serving.memory_creep", "no such file"),
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_not_there_is_skipped_and_the_reason_is_told(name: str) -> None:
    bed = Bed()
    change, check, reason = MISSING[name]
    change(bed.slot)
    bed.live(120)
    assert reason in bed.checkup.skipped[check]
    assert bed.find() == ()


def test_a_server_without_a_release_is_skipped() -> None:
    for slots in ((), (SlotServing("b", ""),)):
        scene = Scene(at=0, ticks=0, boot="b1", limits=RULES.limits, serving=ServingSeen("1", slots))
        outcome = look(CHECKS, scene)
        assert set(outcome.skipped.values()) == {"no release runs here"}
        assert set(outcome.skipped) == {check.name for check in CHECKS}


@pytest.mark.parametrize("phase", [Phase.LOADING, Phase.COMPILING, Phase.WARMING, Phase.UNKNOWN])
def test_of_a_slot_that_does_not_serve_nothing_is_said(bed: Bed, phase: Phase) -> None:
    scene = bed.find_scene()
    [slot] = scene.serving.slots
    seen = look(CHECKS, replace(scene, serving=replace(scene.serving, slots=(replace(slot, phase=phase),))))
    assert {one.code for one in seen.sights} == {"check.broken"}


SPOILS: dict[str, Callable[[Slot], object]] = {name: change for name, (change, _) in UNREAD.items()}


@settings(max_examples=60)
@given(
    spoilt=st.sets(st.sampled_from(sorted(SPOILS)), min_size=1),
    gone=st.sets(st.sampled_from(sorted(MISSING))),
    faults=st.sets(st.integers(0, len(FAULTS) - 1), max_size=3),
    late=st.booleans(),
)
def test_no_read_error_is_ever_ok_and_none_leads_to_more_than_an_alert(
    spoilt: set[str], gone: set[str], faults: set[int], late: bool
) -> None:
    """Whatever else is missing or wrong, and whether it could be read before."""
    bed = Bed()
    if late:
        bed.live(3 * 3600, step=60)
    for place in faults:
        FAULTS[place].do(bed.slot)
    for name in sorted(gone):
        MISSING[name][0](bed.slot)
    for name in sorted(spoilt):
        SPOILS[name](bed.slot)
    bed.live(60, step=60)
    sights = {one.code: one for one in look(CHECKS, bed.find_scene()).sights if one.verdict is Verdict.OK}
    for name in spoilt:
        assert not UNREAD[name][1] & sights.keys(), name
    assert all(one.measure is Measure.ALERT for one in bed.find())


# --- texts ------------------------------------------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_any_text_can_be_looked_at(text: str) -> None:
    if text:
        times, share = find_repeats(text)
        assert times >= 0
        assert 0 <= share <= 1
    assert 0 <= find_unprintable(text) <= 1


@given(piece=st.text(alphabet="abc xyz", min_size=1, max_size=8), times=st.integers(8, 40))
def test_a_piece_over_and_over_is_found(piece: str, times: int) -> None:
    found, share = find_repeats(piece * times)
    assert found >= times
    assert share > 0.9
