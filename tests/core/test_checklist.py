"""Checks and baselines on the wire: they come back as they went, and anything else is refused with its key."""

import json

import pytest
from dsops.core.baseline import MOST_NUMBERS, Baseline, Number, make_numbers
from dsops.core.checklist import Checklist, CheckSeen, Item
from dsops.core.errors import DsopsError
from dsops.core.maintenance import Maintenance
from dsops.core.status import Measure, NodeStatus, Verdict

from tests.core.test_status import make_status

BASELINE = Baseline(5.0, "kim", "commissioned", (Number("gpu0", "pcie_width", 16.0), Number("gpu1", "pcie_width", 8.0)))
ITEM = Item("gpu.hot", "gpu0", Verdict.BAD, 91.0, 85.0, "hot", "cool it", Measure.ALERT, since=3.0, streak=4, needed=3)
LIST = Checklist(
    "gpu1",
    "b1",
    10.0,
    (CheckSeen("gpu.hot", ("gpu.hot",), 9.0, items=(ITEM,)), CheckSeen("ib", ("ib.down",), 9.0, "no such port")),
    (Number("gpu0", "pcie_width", 16.0),),
    BASELINE,
    Maintenance("fans", "kim", 1.0, 7201.0),
)


def test_all_of_it_comes_back_as_it_went() -> None:
    assert Checklist.from_json(LIST.to_json(), where="x") == LIST
    assert Baseline.from_json(BASELINE.to_json(), where="x") == BASELINE
    assert BASELINE.values == {("gpu0", "pcie_width"): 16.0, ("gpu1", "pcie_width"): 8.0}


@pytest.mark.parametrize("text", ["", "[]", '{"version": 9}', '{"version": 1, "nodes": 1}'])
def test_anything_else_is_refused(text: str) -> None:
    for parse in (Checklist.from_json, Baseline.from_json):
        with pytest.raises(DsopsError):
            parse(text, where="x")


@pytest.mark.parametrize(
    ("item", "counts"),
    [
        (Item("c", "e", Verdict.BAD, since=3.0, streak=3, needed=3), True),
        (Item("c", "e", Verdict.BAD, streak=1, needed=3), False),
        (Item("c", "e", Verdict.OK, since=3.0), True),
        (Item("c", "e", Verdict.OK), False),
        (Item("c", "e", Verdict.UNKNOWN), False),
    ],
)
def test_one_bad_sample_may_be_too_few_and_what_is_latched_counts(item: Item, *, counts: bool) -> None:
    assert item.is_finding is counts


GOOD = {"entity": "gpu0", "key": "width", "value": 16}


@pytest.mark.parametrize(
    "data",
    [
        [],
        [GOOD, GOOD],
        [GOOD | {"value": float("nan")}],
        [GOOD | {"value": float("inf")}],
        [GOOD | {"value": "16"}],
        [GOOD | {"value": True}],
        [GOOD | {"entity": "g" * 201}],
        [GOOD | {"more": 1}],
        [1],
        [GOOD | {"key": f"k{place}"} for place in range(MOST_NUMBERS + 1)],
    ],
)
def test_what_is_no_number_of_a_check_is_not_kept(data: list[object]) -> None:
    with pytest.raises(DsopsError):
        make_numbers(json.loads(json.dumps(data)), where="numbers")
    assert make_numbers([GOOD], where="numbers") == (Number("gpu0", "width", 16.0),)


def test_a_status_brings_its_maintenance_along() -> None:
    status = make_status(maintenance=Maintenance("fans", "kim", 1.0, 7201.0, ("gpu.*",)))
    assert NodeStatus.from_json(status.to_json(), where="x") == status
