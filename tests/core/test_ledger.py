"""Damping, latches and causes: what is seen becomes a finding, and is over, by its rule alone."""

import json
from dataclasses import replace

import pytest
from dsops.core.checks import DRAINS, ORDER, Kind, Rule, Sight, find_condition
from dsops.core.errors import DsopsError
from dsops.core.ledger import BLIND_SECONDS, FLAPS, HOUR, Ledger
from dsops.core.status import Blame, Condition, Measure, Verdict
from hypothesis import given
from hypothesis import strategies as st

BAD, OK, UNKNOWN = Verdict.BAD, Verdict.OK, Verdict.UNKNOWN
STATE = Rule(
    "gpu.hot",
    Blame.HARDWARE,
    Measure.DRAIN,
    "cool it",
    "test",
    samples=3,
    seconds=20,
    clear_samples=2,
    clear_seconds=30,
)
EVENT = Rule(
    "xid.94",
    Blame.HARDWARE,
    Measure.RESTART,
    "wait",
    "test",
    kind=Kind.EVENT,
    again=Measure.RESET,
    again_seconds=86400,
    hold_seconds=600,
)


class Play:
    """A ledger with a clock: each look is a new sample, ten seconds after the one before."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = {rule.code: rule for rule in rules}
        self.ledger = Ledger("boot")
        self.now = 1000.0
        self.samples = 0

    def see(
        self, *verdicts: Verdict, code: str = "", entity: str = "gpu0", every: float = 10.0, **words: object
    ) -> None:
        for verdict in verdicts:
            self.samples += 1
            self.now += every
            sight = Sight(code or next(iter(self.rules)), entity, verdict, str(self.samples), "too hot")
            self.ledger.take([replace(sight, **words)], self.rules, now=self.now, wall=self.wall)  # type: ignore[arg-type]

    @property
    def wall(self) -> float:
        return 1e9 + self.now

    @property
    def found(self) -> dict[str, Measure]:
        findings = self.ledger.find(self.rules, now=self.now, wall=self.wall)
        return {f"{one.code} {one.entity}": one.measure for one in findings}


def test_it_takes_samples_and_time() -> None:
    play = Play(STATE)
    play.see(BAD, BAD)
    assert not play.found
    play.see(BAD)
    assert play.found == {"gpu.hot gpu0": Measure.DRAIN}
    quick = Play(STATE)
    quick.see(*[BAD] * 10, every=1.0)
    assert not quick.found


def test_two_looks_at_one_sample_are_one() -> None:
    play = Play(STATE)
    for _ in range(5):
        play.now += 30
        play.ledger.take(
            [Sight("gpu.hot", "gpu0", BAD, "the same", "too hot")], play.rules, now=play.now, wall=play.wall
        )
    assert not play.found


def test_one_that_is_well_in_between_begins_anew() -> None:
    play = Play(STATE)
    play.see(BAD, BAD, OK, BAD, BAD)
    assert not play.found


def test_what_cannot_be_read_neither_adds_nor_clears_and_is_told() -> None:
    play = Play(STATE)
    play.see(BAD, BAD, UNKNOWN, BAD)
    assert play.found == {"gpu.hot gpu0": Measure.DRAIN}
    play.see(*[UNKNOWN] * 30)
    assert play.found == {"gpu.hot gpu0": Measure.DRAIN}
    blind = Play(STATE)
    blind.see(UNKNOWN, reason="NVML: Unknown Error")
    assert not blind.found
    blind.see(*[UNKNOWN] * 8, reason="NVML: Unknown Error")
    [finding] = blind.ledger.find(blind.rules, now=blind.now, wall=blind.wall)
    assert finding.status is UNKNOWN
    assert finding.condition is Condition.BLIND
    assert finding.reason == "cannot be read: NVML: Unknown Error"
    assert blind.now - 1010 >= BLIND_SECONDS
    blind.see(OK)
    assert not blind.found


def test_it_is_over_after_samples_and_time() -> None:
    play = Play(STATE)
    play.see(BAD, BAD, BAD, OK, OK)
    assert play.found
    play.see(OK, OK)
    assert not play.found


def test_what_is_latched_stays_until_the_next_boot_or_a_person() -> None:
    latched = replace(STATE, latched=True)
    for end in ("boot", "person"):
        play = Play(latched)
        play.see(BAD, BAD, BAD, *[OK] * 50)
        assert play.found
        play.ledger.begin("boot")
        assert play.found
        play.ledger.begin("next") if end == "boot" else play.ledger.clear()
        assert not play.found


def test_what_a_person_cleared_is_not_counted_any_more() -> None:
    """The card was replaced: its next contained error is its first."""
    play = Play(EVENT)
    play.see(BAD)
    before = play.ledger.changes
    play.ledger.clear()
    assert play.ledger.changes > before
    play.see(BAD)
    assert play.found == {"xid.94 gpu0": Measure.RESTART}


def test_what_came_after_a_persons_word_and_before_it_was_heard_is_not_forgotten() -> None:
    play = Play(EVENT)
    play.see(BAD)
    looked = play.wall
    play.see(OK, OK, OK, OK, OK, OK, OK, OK, BAD)
    play.ledger.clear(until=looked)
    assert play.found == {"xid.94 gpu0": Measure.RESTART}
    assert [len(line.falls) for line in play.ledger.lines.values()] == [1]
    play.ledger.clear(until=play.wall)
    assert not play.found


def test_what_comes_and_goes_too_often_is_believed_only_after_an_hour() -> None:
    play = Play(STATE)
    for _ in range(FLAPS):
        assert not play.found
        play.see(BAD, BAD, BAD)
        assert play.found
        play.see(*[OK] * 5)
    assert play.found
    play.see(*[OK] * int(HOUR / 10))
    assert not play.found


def test_an_event_counts_for_a_while_and_asks_for_more_when_it_comes_again() -> None:
    play = Play(EVENT)
    play.see(BAD)
    assert play.found == {"xid.94 gpu0": Measure.RESTART}
    play.see(BAD, entity="gpu1")
    assert play.found == {"xid.94 gpu0": Measure.RESTART, "xid.94 gpu1": Measure.RESTART}
    play.see(BAD)
    assert play.found["xid.94 gpu0"] is Measure.RESET
    play.now += 601
    play.ledger.expire(play.rules, now=play.now)
    assert not play.found


def test_drivers_repeat_themselves() -> None:
    play = Play(EVENT)
    play.see(*[BAD] * 100, every=0.01)
    assert play.found == {"xid.94 gpu0": Measure.RESTART}


def test_a_latched_event_outlives_everything_but_a_boot_and_how_often_outlives_that() -> None:
    play = Play(replace(EVENT, latched=True))
    play.see(BAD)
    play.now += 1e6
    play.ledger.expire(play.rules, now=play.now)
    assert play.found
    play.now -= 1e6
    play.ledger.begin("next")
    assert not play.found
    play.now = 5.0 + 1000  # another boot counts its seconds anew; the wall goes on
    play.see(BAD)
    assert play.found == {"xid.94 gpu0": Measure.RESET}


def test_the_cause_hides_what_follows_from_it_but_nothing_that_asks_for_more() -> None:
    lost = replace(EVENT, code="xid.79", measure=Measure.REBOOT, again=None, hides=("gpu.*",))
    play = Play(STATE, lost)
    play.see(BAD, BAD, BAD, code="gpu.hot")
    play.see(BAD, BAD, BAD, code="gpu.hot", entity="gpu1")
    play.see(BAD, code="xid.79")
    assert play.found == {"xid.79 gpu0": Measure.REBOOT, "gpu.hot gpu1": Measure.DRAIN}
    play.rules["xid.79"] = replace(lost, wide=True)
    assert play.found == {"xid.79 gpu0": Measure.REBOOT}
    play.rules["gpu.hot"] = replace(STATE, measure=Measure.REPLACE)
    assert set(play.found) == {"xid.79 gpu0", "gpu.hot gpu0", "gpu.hot gpu1"}


def test_one_gpu_explains_what_is_said_of_all_and_all_explain_none() -> None:
    cause = replace(STATE, code="xid.79", measure=Measure.REBOOT, samples=1, seconds=0, hides=("gpu.*",))
    play = Play(cause, replace(STATE, samples=1, seconds=0))
    play.see(BAD, code="gpu.hot", entity="gpus")
    play.see(BAD, code="gpu.hot", entity="gpu2")
    play.see(BAD, code="xid.79", entity="gpu1")
    assert set(play.found) == {"xid.79 gpu1", "gpu.hot gpu2"}
    play.rules["gpu.hot"] = replace(STATE, samples=1, seconds=0, hides=("xid.*",), measure=Measure.REPLACE)
    assert set(play.found) == {"xid.79 gpu1", "gpu.hot gpu2", "gpu.hot gpus"}


def test_that_nobody_can_see_is_told_at_once_and_is_no_reason_to_act() -> None:
    play = Play(replace(STATE, samples=1, seconds=0, blind=True, excuses=False))
    play.see(BAD, reason="no answer")
    [finding] = play.ledger.find(play.rules, now=play.now, wall=play.wall)
    assert (finding.status, finding.condition, finding.measure) == (UNKNOWN, Condition.BLIND, Measure.ALERT)
    assert (finding.reason, finding.excuses, finding.since) == ("no answer", False, play.wall)


def test_a_check_on_trial_is_told_and_nothing_is_done() -> None:
    play = Play(replace(EVENT, alert_only=True))
    play.see(BAD, BAD, BAD)
    assert play.found == {"xid.94 gpu0": Measure.ALERT}


def test_what_was_seen_itself_may_ask_for_something_else() -> None:
    play = Play(replace(EVENT, again=None))
    play.see(BAD, measure=Measure.REBOOT, mend="as the driver says")
    [finding] = play.ledger.find(play.rules, now=play.now, wall=play.wall)
    assert (finding.measure, finding.mend) == (Measure.REBOOT, "as the driver says")


def test_it_comes_back_as_it_was() -> None:
    play = Play(STATE, EVENT)
    play.see(BAD, BAD, UNKNOWN, BAD)
    play.see(BAD, code="xid.94")
    again = Ledger.from_data(json.loads(json.dumps(play.ledger.to_data())))
    assert again == play.ledger
    with pytest.raises(DsopsError, match="ledger"):
        Ledger.from_data({"lines": []})


# --- whatever comes ----------------------------------------------------------------------------------------------

LOOKS = st.lists(st.tuples(st.sampled_from(Verdict), st.floats(0.0, 200.0)), max_size=60)


@given(looks=LOOKS, latched=st.booleans())
def test_without_a_bad_look_there_is_never_more_than_an_alert(
    looks: list[tuple[Verdict, float]], *, latched: bool
) -> None:
    play = Play(replace(STATE, latched=latched, samples=1, seconds=0.0))
    for verdict, every in looks:
        play.see(UNKNOWN if verdict is BAD else verdict, every=every)
        assert all(measure is Measure.ALERT for measure in play.found.values())


@given(looks=LOOKS)
def test_a_finding_never_comes_before_its_samples_and_its_time(looks: list[tuple[Verdict, float]]) -> None:
    play = Play(STATE)
    bad: list[float] = []
    for verdict, every in looks:
        before = dict(play.found)
        play.see(verdict, every=every)
        if verdict is OK:
            bad = []
        elif verdict is BAD:
            bad.append(play.now)
        if Measure.DRAIN in play.found.values() and Measure.DRAIN not in before.values():
            assert len(bad) >= STATE.samples
            assert bad[-1] - bad[0] >= STATE.seconds


@given(looks=LOOKS)
def test_however_it_flaps_it_falls_at_most_so_often_within_an_hour(looks: list[tuple[Verdict, float]]) -> None:
    play = Play(replace(STATE, samples=1, seconds=0.0, clear_samples=1, clear_seconds=0.0))
    for verdict, every in looks:
        play.see(verdict, every=every)
    falls = play.ledger.lines[("gpu.hot", "gpu0")].falls if play.ledger.lines else ()
    for first in falls:
        assert sum(first <= at < first + HOUR for at in falls) <= FLAPS


@given(measure=st.sampled_from(Measure), times=st.integers(0, 20), wanted=st.none() | st.sampled_from(Measure))
def test_what_it_makes_of_a_node_follows_from_what_it_asks_for(
    measure: Measure, times: int, wanted: Measure | None
) -> None:
    rule = replace(EVENT, measure=measure)
    asked = rule.find_measure(times, wanted)
    assert ORDER.index(asked) >= ORDER.index(wanted or measure)
    assert (find_condition(asked) is Condition.FAILED) == (asked in DRAINS)
    assert replace(rule, alert_only=True).find_measure(times, wanted) in (Measure.NONE, Measure.ALERT)
