"""Clocks: how far off, kept by whom, and in which time."""

import pytest
from dsops.control.doctor.answer import read_answer
from dsops.control.doctor.clock import Clock, judge_skew, judge_sync, read_clock
from dsops.control.doctor.finding import Status

FOLLOWS = "chrony=C0000201,192.0.2.1,3,1795333456.1,0.0001,-0.00002,0.0001,-5.1,0.01,0.05,0.002,0.001,64.2,Normal\n"
ALONE = "chrony=00000000,,0,0.000000000,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised\n"


@pytest.mark.parametrize(
    ("said", "clock"),
    [
        (FOLLOWS, Clock("chrony", True)),
        (ALONE + "rtc=local\n", Clock("chrony", False, True)),
        ("chrony=506 Cannot talk to daemon\ntimesyncd=yes\n", Clock("timesyncd", True)),
        ("", Clock()),
    ],
)
def test_what_a_server_says_is_read(said: str, clock: Clock) -> None:
    assert read_clock(read_answer(said)) == clock


def test_a_few_minutes_are_a_warning_and_a_wrong_date_is_a_problem() -> None:
    (minutes,), (years,) = (judge_skew("gpu1", skew, has_servers=False) for skew in (90.0, -9e8))
    assert (minutes.status, years.status) == (Status.WARNING, Status.PROBLEM)
    assert (minutes.what, years.what) == (
        "is 90 s ahead of this machine",
        "is 900000000 s behind this machine",
    )
    (mended,) = judge_skew("gpu1", -9e8, has_servers=True)
    assert (mended.status, "a deploy sets chrony up" in mended.mend) == (Status.WARNING, True)


@pytest.mark.parametrize(
    ("clock", "has_servers", "status", "what"),
    [
        (Clock("chrony", True), True, Status.OK, "kept by chrony"),
        (Clock("chrony", False), True, Status.WARNING, "chrony runs and follows no time server"),
        (Clock("chrony", False), False, Status.SKIPPED, "nobody keeps its clock: base_ntp_servers is not given"),
        (Clock(), True, Status.SKIPPED, "nobody keeps its clock, until a deploy sets chrony up"),
        (Clock("chrony", True, True), True, Status.WARNING, "the hardware's clock runs in local time"),
    ],
)
def test_who_keeps_it_is_said(clock: Clock, has_servers: bool, status: Status, what: str) -> None:
    (found,) = judge_sync("gpu1", clock, has_servers=has_servers)
    assert (found.status, found.what) == (status, what)
