"""What nodes' checks say, as `dsops doctor NODE` shows it: silence is never OK, and what is wrong stands last."""

import io
from dataclasses import replace

import pytest
from dsops.control.doctor.checks import Row, Told, ask_checks, checks_to_data, find_rows, render_checks
from dsops.control.doctor.finding import Status, decide_exit
from dsops.control.fleet.inventory import Server
from dsops.core.checklist import Checklist, CheckSeen, Item
from dsops.core.errors import DsopsError
from dsops.core.maintenance import Maintenance
from dsops.core.status import Measure, Verdict
from rich.console import Console

from tests.control.fleet.test_reads import make_server
from tests.node.sources.server import Canned, serve

AT = 1_700_000_000.0
HOT = Item(
    "gpu.hot", "gpu0", Verdict.BAD, 91.0, 85.0, "too hot", "look at NODE's fans", Measure.DRAIN, since=AT, streak=3
)
COOL = Item("gpu.hot", "gpu1", Verdict.OK, 40.0, 85.0)
SKIPPED = CheckSeen("ib", ("ib.down",), AT, "no such port")


def make_list(*items: Item, **changes: object) -> Checklist:
    first = CheckSeen("gpu.hot", ("gpu.hot",), AT, items=items)
    return replace(Checklist("gpu1", "b1", AT, (first, SKIPPED)), **changes)  # type: ignore[arg-type]


def tell(*items: Item, **changes: object) -> Told:
    return Told(Server("gpu1", ("gpu",), {}, "f:1: gpu1"), make_list(*items, **changes))


def look(*told: Told, now: float = AT + 1) -> list[Row]:
    return find_rows(told, now=lambda: now)


def exit_of(rows: list[Row]) -> int:
    return decide_exit(row.to_finding() for row in rows)


def show(told: list[Told], *, shows_all: bool = False) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(render_checks(look(*told), told, shows_all=shows_all))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_is_wrong_has_value_threshold_reason_and_mend() -> None:
    text = show([tell(HOT, COOL)])
    assert text.splitlines()[1].split() == ["verdict", "check", "entity", "value", "threshold", "reason"]
    row = text.splitlines()[2]
    assert row.split()[:5] == ["BAD", "gpu.hot", "gpu0", "91", "85"]
    assert "too hot; asks for drain since 2023-11-14 22:13 UTC" in row
    assert "mend: look at gpu1's fans" in text
    assert "gpu1 " not in text.split("mend")[0].replace("checks of gpu1", "")
    assert "1 OK, 1 SKIPPED, 1 BAD. --all shows 2 more." in text


def test_all_shows_also_what_is_well_and_what_does_not_apply_and_why() -> None:
    text = show([tell(HOT, COOL)], shows_all=True)
    verdicts = [line.split()[0] for line in text.splitlines()[2:] if line[:1] not in " m1"]
    assert verdicts == ["SKIPPED", "OK", "BAD"]
    assert "no such port" in text


def test_a_fleet_of_several_names_each() -> None:
    other = Told(Server("gpu2", ("gpu",), {}, "f:2: gpu2"), None, DsopsError("no answer in time", mend="ping it"))
    text = show([tell(HOT), other])
    assert [line.split()[:2] for line in text.splitlines()[2:] if " agent " in line] == [["gpu2", "UNKNOWN"]]
    assert "its agent does not answer (no answer in time): nothing is known of it" in text
    assert checks_to_data([other])[0]["checks"] is None


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (COOL, 0),
        (HOT, 1),
        (replace(HOT, measure=Measure.ALERT), 1),
        (replace(HOT, measure=Measure.NONE), 0),
        (replace(HOT, verdict=Verdict.OK), 1),  # latched
        (replace(HOT, since=None, streak=1, needed=3), 0),  # seen once, and three times make a finding
        (replace(COOL, verdict=Verdict.UNKNOWN), 2),
        (replace(HOT, held="maintenance until ..."), 1),
    ],
)
def test_the_exit_status_says_what_a_script_wants_to_know(item: Item, code: int) -> None:
    assert exit_of(look(tell(item))) == code


def test_silence_and_old_news_are_unknown() -> None:
    server = Server("gpu1", ("gpu",), {}, "f:1: gpu1")
    assert exit_of(look(Told(server, None, DsopsError("no")))) == 2
    assert exit_of(look(tell(COOL), now=AT + 3600)) == 2
    assert exit_of(look(tell(COOL), now=AT - 3600)) == 2
    [unseen] = look(tell(checks=(CheckSeen("gpu.hot", ("gpu.hot",)),)))
    assert (unseen.status, unseen.reason) == (Status.UNKNOWN, "it has not looked yet")
    [quiet] = look(tell(checks=(CheckSeen("gpu.hot", ("gpu.hot",), AT),)))
    assert quiet.status is Status.OK


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (16.0, "16"), (0.963571, "0.9636"), (68_362_301_440.5, "68,362,301,440"), (1000.0, "1,000")],
)
def test_numbers_are_for_people(value: float | None, shown: str) -> None:
    assert look(tell(replace(COOL, value=value)))[1].value == shown


def test_what_was_seen_too_seldom_says_so_and_a_maintenance_is_named() -> None:
    once = replace(HOT, since=None, streak=1, needed=3)
    held = Maintenance("fans", "kim", AT, AT + 7200)
    text = show([tell(once, maintenance=held)])
    assert "too hot; seen 1 of 3 times" in text
    assert "gpu1: maintenance until 2023-11-15 00:13 UTC by kim: fans" in text


def test_agents_are_asked_and_an_older_one_is_said_to_be() -> None:
    old = Canned({"/v1/checks": (404, b"{}")})
    odd = Canned({"/v1/checks": (200, b'{"version": 7}')})
    good = Canned({"/v1/checks": (200, make_list(HOT).to_json().encode())})
    with serve(good), serve(old), serve(odd):
        servers = [make_server(name, one.port) for name, one in (("good", good), ("old", old), ("odd", odd))]
        told = ask_checks(servers)
    assert [one.value is not None for one in told] == [True, False, False]
    assert [one.reason for one in told] == ["", "HTTP 404", "checks of version 7, this dsops reads 1"]
