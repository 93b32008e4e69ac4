"""A driver change over four nodes: the plan shows each reboot and who serves, the apply goes one by one."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

from dsops.control.plan.apply import Orders
from dsops.control.plan.make import choose_effects
from dsops.control.plan.page import WIDTH, render
from dsops.core.dry import Certainty, Change, Detail
from dsops.core.effects import parse_effects
from dsops.core.plan import Plan, find_out, find_reboots, find_silent, make_id
from rich.console import Console

from tests.control.plan.plans import FakeDoors, make_fleet, make_plan, make_run

EFFECTS = parse_effects((Path(__file__).parents[3] / "roles/driver/effects.toml").read_text(), where="driver")
FLEET = make_fleet(4)
NODES = ("gpu1", "gpu2", "gpu3", "gpu4")
TOLD = Detail("driver", "debian12-535.309.01", "debian12-535.261.03 -> debian12-535.309.01")


def plan_driver() -> Plan:
    """What a dry run of the role tells of another lockset."""
    changes = (
        Change("driver", "bundle: drivers/debian12-535.309.01", Certainty.SURE, ()),
        Change("driver", "driver: set", Certainty.SURE, (TOLD,)),
    )
    names = {change.operation for change in changes}
    plan = replace(make_plan(dict.fromkeys(NODES, changes), fleet=FLEET), effects=choose_effects(EFFECTS, names))
    return replace(plan, id=make_id(plan))


def page() -> str:
    console = Console(width=WIDTH, record=True, file=StringIO(), highlight=False)
    console.print(render(plan_driver(), file="build/plans/x.json"))
    return console.export_text()


def test_every_operation_says_what_it_costs_and_the_change_of_the_set_costs_a_node_and_a_reboot() -> None:
    plan = plan_driver()
    assert find_silent(plan) == []
    for name in NODES:
        assert find_reboots(plan, plan.get_server(name)) == ["driver: set"]
        assert find_out(plan, name) == ["driver: set"]


def test_the_page_shows_reboots_waves_and_capacity() -> None:
    said = " ".join(page().split())
    for words in (
        "debian12-535.261.03 -> debian12-535.309.01",
        "a reboot is asked for on gpu1, gpu2, gpu3, gpu4; gpu1, gpu2, gpu3, gpu4 out of traffic in their turn.",
        "after driver: set",
        *(f"{number} gpu{number} gpu: 3 of 4 serve" for number in range(1, 5)),
        "driver_lockset with the older set",
    ):
        assert words in said, said
    assert "OUTAGE" not in said


def test_each_node_is_drained_changed_rebooted_and_back_before_the_next(tmp_path: Path) -> None:
    asks = {name: {"driver": "driver set debian12-535.309.01 is on the disk, another one runs"} for name in NODES}
    doors = FakeDoors({*NODES, "lb1", "mon1"}, asks=asks)
    progress = make_run(tmp_path, plan_driver(), doors, Orders(reboots=True)).go(frozenset())
    assert progress.done == frozenset(NODES)
    steps = [said for said in doors.said if said[0] in {"drain", "run", "reboot", "undrain"}]
    assert steps == [(verb, name) for name in NODES for verb in ("drain", "run", "reboot", "undrain")]


def test_a_node_that_does_not_come_back_stops_the_rest(tmp_path: Path) -> None:
    asks = {name: {"driver": "x"} for name in NODES}
    doors = FakeDoors({*NODES, "lb1", "mon1"}, breaks={("reboot", "gpu2"): "did not come back"}, asks=asks)
    progress = make_run(tmp_path, plan_driver(), doors, Orders(reboots=True)).go(frozenset())
    assert progress.done == frozenset({"gpu1"})
    assert not [said for said in doors.said if "gpu3" in said]
