"""What each check saw last: as it is, without a look, and nothing of what went."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from dsops.core.baseline import Number
from dsops.core.checklist import CheckSeen, Item
from dsops.core.checks import Rule, Sight
from dsops.core.maintenance import Maintenance
from dsops.core.status import Blame, Measure, Verdict
from dsops.node.checks.board import KERNEL
from dsops.node.checks.check import BROKEN, Check, Scene
from dsops.node.checks.checkup import Checkup
from dsops.node.checks.rules import get_shipped
from dsops.node.sources.kernel_log import Record

HOT = Rule("test.hot", Blame.HARDWARE, Measure.DRAIN, "cool it", "a test", samples=2, latched=True)
RULES = replace(get_shipped(), rules=get_shipped().rules | {HOT.code: HOT})
AT = 1e9


class Bench:
    """One check that sees what it is told to."""

    def __init__(self, **words: object) -> None:
        self.sights: list[Sight] = []
        self.why = ""
        self.fails = False
        check = Check("test", (HOT.code,), self.look, needs=lambda _: self.why, **words)  # type: ignore[arg-type]
        self.checkup = Checkup(RULES, checks=[check])
        self.checkup.take_kept(None, boot="b1")
        self.ticks = 100.0

    def look(self, _: Scene) -> Iterable[Sight]:
        if self.fails:
            raise ZeroDivisionError("by nothing")
        return self.sights

    def see(self, **entities: float) -> None:
        """One sample: entity -> degrees."""
        self.ticks += 10
        self.sights = [
            Sight(HOT.code, name, Verdict.BAD if value > 85 else Verdict.OK, f"{self.ticks}", "hot", value, 85.0)
            for name, value in entities.items()
        ]
        self.checkup.look(Scene(at=AT + self.ticks, ticks=self.ticks, boot="b1"))

    def show(self, maintenance: Maintenance | None = None) -> dict[str, CheckSeen]:
        ledger = self.checkup.ledger
        seen = self.checkup.board.render(ledger, RULES, wall=AT + self.ticks, maintenance=maintenance)
        return {check.name: check for check in seen}

    def find(self, maintenance: Maintenance | None = None) -> dict[str, Item]:
        return {item.entity: item for item in self.show(maintenance)["test"].items}


def test_before_the_first_look_nothing_is_known() -> None:
    shown = Bench().show()
    assert (shown["test"].at, shown["test"].items) == (None, ())
    assert shown[KERNEL].skipped


def test_it_shows_the_last_look_how_far_it_is_to_a_finding_and_since_when_it_is_one() -> None:
    bench = Bench()
    bench.see(gpu0=90.0, gpu1=40.0)
    assert bench.show()["test"].at == AT + 110
    found = bench.find()
    assert (found["gpu0"].streak, found["gpu0"].needed, found["gpu0"].since) == (1, 2, None)
    assert (found["gpu0"].value, found["gpu0"].limit, found["gpu0"].mend) == (90.0, 85.0, "cool it")
    assert (found["gpu1"].verdict, found["gpu1"].value, found["gpu1"].mend) == (Verdict.OK, 40.0, "")
    assert not found["gpu0"].is_finding
    bench.see(gpu0=91.0, gpu1=41.0)
    found = bench.find()
    assert (found["gpu0"].value, found["gpu0"].since, found["gpu0"].measure) == (91.0, AT + 120, Measure.DRAIN)
    assert found["gpu1"].value == 41.0


def test_what_is_latched_stays_with_its_reason_and_what_went_goes() -> None:
    bench = Bench()
    for degrees in (90.0, 91.0, 40.0):
        bench.see(gpu0=degrees, gpu1=40.0)
    item = bench.find()["gpu0"]
    assert (item.verdict, item.value, item.reason, item.is_finding) == (Verdict.OK, 40.0, "hot", True)
    bench.see()
    assert list(bench.find()) == ["gpu0"]
    assert bench.find()["gpu0"].verdict is Verdict.BAD
    bench.checkup.clear()
    assert bench.find() == {}


def test_a_check_that_does_not_apply_says_why_and_shows_nothing_old() -> None:
    bench = Bench()
    bench.see(gpu0=40.0)
    bench.why = "no GPU is here"
    bench.see(gpu0=40.0)
    assert (bench.show()["test"].skipped, bench.find()) == ("no GPU is here", {})


def test_one_that_breaks_says_so_and_one_that_does_not_says_nothing_of_it() -> None:
    bench = Bench()
    bench.see(gpu0=40.0)
    assert [item.code for item in bench.find().values()] == [HOT.code]
    bench.fails = True
    bench.see()
    [item] = bench.find().values()
    assert (item.code, item.verdict, item.reason) == (BROKEN, Verdict.BAD, "ZeroDivisionError: by nothing")


def test_a_maintenance_is_said_of_what_is_wrong_and_covered() -> None:
    bench = Bench()
    bench.see(gpu0=90.0, gpu1=40.0)
    held = Maintenance("fans", "kim", AT, AT + 7200, ("test.*",))
    assert "fans" in bench.find(held)["gpu0"].held
    assert bench.find(held)["gpu1"].held == ""
    assert bench.find(replace(held, checks=("gpu.*",)))["gpu0"].held == ""


def test_what_the_kernel_said_is_a_check_of_its_own() -> None:
    bench = Bench()
    bench.checkup.board.read_at = AT
    xid = "NVRM: Xid (PCI:0000:3b:00): 79, pid=1, GPU has fallen off the bus."
    bench.checkup.take_records([Record(1, 3, 100.0, xid)], now=100.0, wall=AT + 100)
    kernel = bench.show()[KERNEL]
    [item] = kernel.items
    assert (kernel.at, kernel.skipped) == (AT, "")
    assert {"xid.79", "kernel.lost"} <= set(kernel.codes)
    assert HOT.code not in kernel.codes
    assert (item.code, item.verdict, item.measure, item.since) == ("xid.79", Verdict.BAD, Measure.REBOOT, AT + 100)
    bench.checkup.clear()
    assert bench.show()[KERNEL].items == ()


def test_what_is_normal_is_said_also_where_the_check_is_skipped() -> None:
    bench = Bench(normal=lambda _: {("gpu0", "width"): 16, ("gpu0", "odd"): float("inf")})
    bench.why = "no baseline"
    bench.see()
    assert bench.checkup.board.find_normal() == (Number("gpu0", "width", 16.0),)


def test_one_that_cannot_say_it_is_told_once_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Scene) -> Mapping[tuple[str, str], float]:
        raise KeyError("width")

    bench = Bench(normal=fail)
    with caplog.at_level(logging.ERROR, "dsops.agent"):
        for _ in range(3):
            bench.see(gpu0=40.0)
    assert len(caplog.records) == 1
    assert bench.checkup.board.find_normal() == ()
    assert bench.find()["gpu0"].value == 40.0
