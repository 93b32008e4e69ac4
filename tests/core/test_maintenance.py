"""Maintenance: it ends by itself, it covers what it says, and what it covers leads to nothing."""

from contextlib import suppress

import pytest
from dsops.core.checks import hold
from dsops.core.errors import DsopsError
from dsops.core.maintenance import MOST_SECONDS, Maintenance, parse_maintenance, parse_span
from dsops.core.status import Blame, Condition, Finding, Measure, Verdict
from hypothesis import given
from hypothesis import strategies as st

AT = 1_700_000_000.0
WHOLE = Maintenance("fans", "kim", AT, AT + 7200)
GPUS = Maintenance("a card", "kim", AT, AT + 7200, ("gpu.*", "xid.*"))
LOST = Finding("gpu3", "xid.79", Verdict.BAD, Blame.HARDWARE, Condition.FAILED, "lost", "", Measure.REBOOT)


@pytest.mark.parametrize(
    ("at", "holds"),
    [(AT, True), (AT + 7199, True), (AT + 7200, False), (AT + 9e9, False), (AT - 60, True), (AT - 86400, False)],
)
def test_it_ends_by_itself_whatever_is_done_to_the_clock(at: float, *, holds: bool) -> None:
    assert WHOLE.holds(at) is holds


def test_none_lasts_for_more_than_a_week() -> None:
    assert not Maintenance("fans", "kim", AT, AT + MOST_SECONDS + 1).holds(AT)


def test_it_comes_back_as_it_went_and_says_until_when() -> None:
    assert parse_maintenance(GPUS.to_json(), where="x") == GPUS
    assert GPUS.describe() == "maintenance of gpu.*, xid.* until 2023-11-15 00:13 UTC by kim: a card"


@pytest.mark.parametrize("text", ["", "[]", "null", '{"version": 2}', '{"version": 1}', "{" * 100_000])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(DsopsError):
        parse_maintenance(text, where="x")


def test_what_it_covers_asks_for_an_alert_at_most() -> None:
    other = Finding("sda", "disk.smart", Verdict.BAD, Blame.STORAGE, Condition.FAILED, "worn", "", Measure.REPLACE)
    quiet = Finding("gpu0", "gpu.note", Verdict.BAD, Blame.HARDWARE, Condition.OK, "so", "", Measure.NONE)
    assert [one.measure for one in hold((LOST, other, quiet), GPUS)] == [Measure.ALERT, Measure.REPLACE, Measure.NONE]
    assert [one.measure for one in hold((LOST, other), WHOLE)] == [Measure.ALERT] * 2
    assert hold((LOST, other), None) == (LOST, other)


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("2h", 7200), ("1d12h", 129_600), ("45s", 45)])
def test_a_span_is_what_people_write(text: str, seconds: int) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "0h", "2h!", "1w", "7d1s", "999999d"])
def test_any_other_is_refused(text: str) -> None:
    with pytest.raises(DsopsError):
        parse_span(text)


@given(st.from_regex(r"([0-9]{1,6}[dhms]){1,4}", fullmatch=True))
def test_no_span_is_more_than_a_week(text: str) -> None:
    with suppress(DsopsError):
        assert 0 < parse_span(text) <= MOST_SECONDS
