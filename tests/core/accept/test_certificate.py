"""A certificate says what it shows, and which node may serve by it."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from dsops.core.accept.certificate import DAY, Certificate, certify, check_usable, parse_certificate
from dsops.core.accept.compare import compare, find_swapped
from dsops.core.accept.judge import Verdict
from dsops.core.accept.measured import Lack, Measurement, parse_measurement
from dsops.core.errors import DsopsError

from tests.core.accept.nodes import MACHINE, RULES, lose, make, make_gpu, spoil, turn

NOW = 1_700_000_000.0
UUIDS = ("GPU-a-0", "GPU-a-1")


def certified(measured: Measurement | None = None, *, forced: str = "", at: float = NOW) -> Certificate:
    return certify(measured or make(), RULES, node="gpu1", who="kim", made_at=at, forced=forced)


def usable(one: Certificate, **words: Any) -> None:
    said: dict[str, Any] = {"uuids": UUIDS, "machine": MACHINE, "now": NOW}
    check_usable(one, **(said | words))


def test_it_survives_its_own_bytes() -> None:
    one = certified(turn("copy_rate", 100)(lose("nic", Lack.OTHER, gpu=-1)(make())))
    assert parse_certificate(one.render(), where="x") == one
    assert one.verdict is Verdict.FAIL
    assert one.sources[0].date == "2026-11-22"


def test_a_measurement_survives_its_own_line_and_refuses_what_is_no_number() -> None:
    assert parse_measurement(make().render(), where="gpu1") == make()
    with pytest.raises(DsopsError, match="NaN is no number"):
        parse_measurement(make().render().replace("728.0", "NaN"), where="gpu1")
    with pytest.raises(ValueError, match="Out of range"):
        turn("copy_rate", float("nan"))(make()).render()


def test_a_node_that_passed_may_serve_for_ever_or_as_long_as_its_site_says() -> None:
    usable(certified())
    usable(certified(), now=NOW + 5000 * DAY)
    usable(certified(), uuids=UUIDS[::-1], days=30, now=NOW + 29 * DAY)
    with pytest.raises(DsopsError, match="31 days old, and this site says 30 at most"):
        usable(certified(), days=30, now=NOW + 31 * DAY)


def test_one_that_failed_may_not_unless_it_was_forced_with_a_reason() -> None:
    bad = spoil("memory")(make())
    with pytest.raises(DsopsError, match="says fail: memory keeps what is written: 3 words") as caught:
        usable(certified(bad))
    assert "dsops accept gpu1" in caught.value.mend
    usable(certified(bad, forced="the spare comes on Monday"))
    with pytest.raises(DsopsError, match="says incomplete"):
        usable(certified(lose("memory", Lack.UNDONE)(make())))


def test_what_passes_is_not_called_forced() -> None:
    assert certified(forced="in any case").forced == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"machine": "another"}, "of another machine"),
        ({"uuids": None}, "nobody can say which GPUs"),
        ({"uuids": ("GPU-a-0", "GPU-b-1")}, "GPU-b-1 is new here, GPU-a-1 is gone"),
        ({"uuids": ("GPU-a-0",)}, "GPU-a-1 is gone"),
        ({"uuids": ()}, "GPU-a-0 is gone, GPU-a-1 is gone"),
    ],
)
def test_it_counts_for_these_gpus_in_this_machine_alone(words: dict[str, Any], says: str) -> None:
    with pytest.raises(DsopsError, match=says) as caught:
        usable(certified(), **words)
    assert caught.value.where == "certificate"
    assert caught.value.mend


def data_of(change: Callable[[dict[str, Any]], Any]) -> bytes:
    data = json.loads(certified().render())
    change(data)
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not a whole certificate"),
        (b"[]", "is no certificate of a node"),
        (data_of(lambda data: data.update(kind="passport")), "is no certificate of a node"),
        (data_of(lambda data: data.update(format=2)), "format 2 is not known"),
        (data_of(lambda data: data.update(format=True)), "format True is not known"),
        (data_of(lambda data: data.update(verdict="fail")), "it says fail, and what it shows does not"),
        (data_of(lambda data: data.update(checks=[])), "it says pass, and what it shows does not"),
        (data_of(lambda data: data["measured"].update(machine="")), "so it is of no machine"),
        (data_of(lambda data: data.update(colour="red")), "unknown key 'colour'"),
        (data_of(lambda data: data.pop("who")), "the key 'who' is missing"),
        (certified().render().replace(b"1700000000.0", b"Infinity"), "Infinity is no number"),
    ],
)
def test_what_is_none_is_refused(content: bytes, says: str) -> None:
    with pytest.raises(DsopsError, match=says) as caught:
        parse_certificate(content, where="x")
    assert caught.value.where.startswith("x")


def test_two_are_compared_figure_by_figure_and_only_notable_changes_for_the_worse_are_called_so() -> None:
    before = certified()
    after = certified(turn("copy_rate", 2946 * 0.93)(turn("temperature", 66)(turn("clock", 1400)(make()))))
    changes = {(one.name, one.gpu, one.peer): one for one in compare(before, after)}
    worse = {key for key, one in changes.items() if one.is_worse}
    assert worse == {("copy_rate", 1, -1), ("temperature", 1, -1)}
    copy = changes[("copy_rate", 1, -1)]
    assert copy.percent
    assert (copy.first, round(copy.percent, 1)) == (2946.0, -7.0)
    better = {one.name for one in compare(after, before) if one.is_worse}
    assert better == set()


def test_a_counter_that_left_zero_and_a_figure_that_is_gone_are_worse() -> None:
    after = certified(turn("ecc_corrected", 3)(lose("nic", Lack.OTHER, gpu=-1)(make())))
    worse = {one.name: one.percent for one in compare(certified(), after) if one.is_worse}
    assert worse == {"ecc_corrected": None, "nic": None}


def test_what_was_swapped_since_is_told() -> None:
    gpus = (make_gpu(0), make_gpu(1, node="b"))
    after = certified(make(gpus=gpus, driver="590.1"))
    assert find_swapped(certified(), after) == (
        "GPU 1 is another one: GPU-a-1, now GPU-b-1",
        "driver 580.159.04, now 590.1",
    )
    assert find_swapped(certified(), certified(make(1))) == ("GPU 1 is gone",)
    elsewhere = certified(dataclasses.replace(make(node="c"), machine="other"))
    assert find_swapped(certified(), elsewhere) == ()
