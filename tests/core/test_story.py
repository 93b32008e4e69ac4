"""A decision as an operator reads it, and as it travels."""

import json
from datetime import timedelta, timezone

from dsops.core.decode import decode
from dsops.core.status import Blame
from dsops.core.story import Decision, Moment, render_story
from hypothesis import given
from hypothesis import strategies as st

ZONE = timezone(timedelta(hours=2))
BEGAN = 1_767_225_600.0
DECISION = Decision(
    node="gpu1",
    release="r2",
    began=BEGAN,
    moments=(
        Moment(BEGAN - 3, "note", "r2 has been baking for 4 min"),
        Moment(BEGAN, "BAD", "slot: sum-1 was answered wrong: 7"),
        Moment(BEGAN + 2.53, "BAD", "slot: sum-2 was answered wrong: 8"),
        Moment(BEGAN + 2.6, "ejected", "sum-2 was answered wrong: 8"),
        Moment(BEGAN + 5.1, "verdict", "three BAD"),
        Moment(BEGAN + 5.2, "rollback", "to r1"),
        Moment(BEGAN + 605, "admitted", ""),
    ),
    blame=Blame.RELEASE,
    blame_says="the release is new here, and nothing else explains it",
    excludes=("hardware: nothing reports a fault", "environment: 2 of 2 other nodes answer, none fails"),
    action="rollback",
    outcome="rolled back from r2 to r1",
    next_step="bring a new build; r2 is refused here",
    requests_failed=3,
)


def test_a_story_says_what_was_seen_what_it_excludes_what_was_done_and_what_comes_next() -> None:
    assert render_story(DECISION, now=BEGAN + 700, zone=ZONE) == [
        "gpu1: rolled back from r2 to r1 (2026-01-01 02:00:00, 12 min ago)",
        "  release  r2",
        "     -3.0 s  note     r2 has been baking for 4 min",
        "     +0.0 s  BAD      slot: sum-1 was answered wrong: 7",
        "     +2.5 s  BAD      slot: sum-2 was answered wrong: 8",
        "     +2.6 s  ejected  sum-2 was answered wrong: 8",
        "     +5.1 s  verdict  three BAD",
        "     +5.2 s  rollback to r1",
        "    +10 min  admitted",
        "  blame    release: the release is new here, and nothing else explains it",
        "           not hardware: nothing reports a fault",
        "           not environment: 2 of 2 other nodes answer, none fails",
        "  done     rollback",
        "  lost     3 requests of clients failed",
        "  next     bring a new build; r2 is refused here",
    ]


def test_a_story_that_goes_on_says_so_and_leaves_out_what_is_not_known() -> None:
    decision = Decision("gpu1", "", BEGAN, (), Blame.UNKNOWN, "not yet", (), "none", "", "")
    assert render_story(decision, now=BEGAN + 90, zone=ZONE) == [
        "gpu1: not over yet (2026-01-01 02:00:00, 90 s ago)",
        "  release  none",
        "  blame    unknown: not yet",
        "  done     none",
    ]


def test_a_decision_comes_back_as_it_went() -> None:
    assert decode(Decision, json.loads(json.dumps(DECISION.to_data())), where="test") == DECISION


@given(st.floats(0, 4e9), st.lists(st.floats(-1e6, 1e6), max_size=5))
def test_any_story_can_be_told(now: float, offsets: list[float]) -> None:
    moments = tuple(Moment(BEGAN + offset, "BAD", "so") for offset in offsets)
    decision = Decision("gpu1", "r1", BEGAN, moments, Blame.UNKNOWN, "so", ("a",), "none", "", "next", None)
    lines = render_story(decision, now=now, zone=ZONE)
    assert len(lines) == 6 + len(moments)
    assert all("\n" not in line and line == line.rstrip() for line in lines)
