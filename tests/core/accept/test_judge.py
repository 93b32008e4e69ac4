"""Every fault that is put into a sound measurement is found, and what was not read never passes."""

import dataclasses
import math

import pytest
from dsops.catalog.floors import read_floors
from dsops.catalog.gpus import find_kind
from dsops.core.accept.figures import ABOUT, ALL
from dsops.core.accept.judge import Check, Other, Outcome, Rules, Verdict, decide, judge, list_others
from dsops.core.accept.measured import Fault, Lack, Measurement

from tests.core.accept.nodes import H100, RULES, Change, list_all, lose, make, spoil, turn

# What is put in, and the figure that must fail for it.
FAULTS: list[tuple[str, Change, str]] = [
    ("a bit flips in memory", spoil("memory"), "memory"),
    ("a copy differs", spoil("copy"), "copy"),
    ("a sum of vectors is wrong", spoil("triad"), "triad"),
    ("a word changes on the way from the host", spoil("host"), "host"),
    ("a product is wrong", spoil("product"), "product"),
    ("a repeated product differs", spoil("repeat"), "repeat"),
    ("a product in fp8 is wrong", spoil("fp8"), "fp8"),
    ("a word changes on the way from a peer", spoil("peer"), "peer"),
    ("a sum over all GPUs is wrong", spoil("all-reduce", gpu=-1), "all-reduce"),
    ("a part that nobody knows objects", spoil("newer part"), "newer part"),
    ("memory is slow to write", turn("memory_write", 2100), "memory_write"),
    ("memory is slow to read", turn("memory_read", 2100), "memory_read"),
    ("copies are slow", turn("copy_rate", 2000), "copy_rate"),
    ("products are slow", turn("product_rate", 500), "product_rate"),
    ("products in fp8 are slow", turn("fp8_rate", 700), "fp8_rate"),
    ("half the PCIe lanes", turn("host_to_device", 26), "host_to_device"),
    ("half the PCIe lanes back", turn("device_to_host", 26), "device_to_host"),
    ("a peer is reached through the host", turn("peer_rate", 24), "peer_rate"),
    ("sums over all GPUs are slow", turn("all_reduce", 41, gpu=-1), "all_reduce"),
    ("an Xid", turn("xids", 1), "xids"),
    ("an uncorrected memory error", turn("ecc_uncorrected", 1), "ecc_uncorrected"),
    ("a corrected memory error", turn("ecc_corrected", 1), "ecc_corrected"),
    ("error correction is off", turn("ecc_on", 0), "ecc_on"),
    ("a row waits to be remapped", turn("remap_pending", 1), "remap_pending"),
    ("a row could not be remapped", turn("remap_failed", 1), "remap_failed"),
    ("the power brake", turn("slowdown", 40), "slowdown"),
    ("it hardly takes power", turn("power_share", 40), "power_share"),
    ("too hot", turn("temperature", 93), "temperature"),
    ("an NVLink is down", turn("nvlinks", 17), "nvlinks"),
    ("a GPU is missing", turn("gpu_count", 1, gpu=-1), "gpu_count"),
    ("the store lies on a slow disk", turn("storage_read", 180, gpu=-1), "storage_read"),
]


def find(checks: tuple[Check, ...], outcome: Outcome) -> set[str]:
    return {check.name for check in checks if check.outcome is outcome}


def test_a_sound_node_passes() -> None:
    checks = judge(make(), RULES)
    assert decide(checks) is Verdict.PASS
    assert find(checks, Outcome.FAIL) == find(checks, Outcome.UNKNOWN) == set()
    assert {"memory", "peer_rate", "all_reduce"} <= find(checks, Outcome.PASS)


@pytest.mark.parametrize(("change", "name"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
def test_every_fault_is_found_where_it_is_with_a_reason_and_a_mend(change: Change, name: str) -> None:
    checks = judge(change(make()), RULES)
    assert decide(checks) is Verdict.FAIL
    (failed,) = [check for check in checks if check.outcome is Outcome.FAIL]
    assert failed.name == name
    assert failed.reason
    assert failed.mend


def test_at_least_twelve_kinds_of_fault_are_put_in() -> None:
    assert len({name for _, _, name in FAULTS}) >= 12


@pytest.mark.parametrize("lack", [Lack.UNREAD, None])
def test_nothing_that_was_not_read_ever_passes(lack: Lack | None) -> None:
    """A property over everything that is judged: without it, the node is not accepted."""
    for name, gpu in list_all(make()):
        checks = judge(lose(name, lack, gpu=gpu)(make()), RULES)
        assert decide(checks) is Verdict.INCOMPLETE, (name, gpu)
        found = [check for check in checks if check.outcome is Outcome.UNKNOWN]
        # A look and a figure may have one name.
        assert {(check.name, check.gpu) for check in found} == {(name, gpu)}
        assert all(check.reason for check in found)


def test_what_was_wanted_and_not_done_keeps_a_node_from_its_certificate_and_what_means_nothing_here_does_not() -> None:
    for name, gpu in list_all(make()):
        wanted = judge(lose(name, Lack.UNDONE, gpu=gpu)(make()), RULES)
        assert decide(wanted) is Verdict.INCOMPLETE, name
        for lack in (Lack.OTHER, Lack.OFF):
            checks = judge(lose(name, lack, gpu=gpu)(make()), RULES)
            assert decide(checks) is Verdict.PASS, name
            found = {(check.name, check.gpu) for check in checks if check.reason == "for a reason"}
            assert found == {(name, gpu)}


def test_a_number_that_is_none_is_unknown() -> None:
    for value in (math.nan, math.inf, -math.inf):
        checks = judge(turn("copy_rate", value)(make()), RULES)
        (check,) = [check for check in checks if check.outcome is Outcome.UNKNOWN]
        assert (check.name, check.value) == ("copy_rate", None)


def test_a_measurement_of_nothing_passes_nobody() -> None:
    empty = Measurement("m", "h", "k", "", "", "", 0.0)
    assert decide(judge(empty, Rules())) is Verdict.INCOMPLETE
    assert decide([]) is Verdict.INCOMPLETE


def test_a_fault_of_a_gpu_that_is_not_listed_fails_all_the_same() -> None:
    one = dataclasses.replace(make(), faults=(Fault("memory", "wrong", 7),))
    assert decide(judge(one, RULES)) is Verdict.FAIL


def others(value: float, count: int, name: str = "product_rate", model: str = H100) -> tuple[Other, ...]:
    return tuple(Other(name, value, model) for _ in range(count))


def test_a_gpu_above_its_floor_but_behind_the_fleet_fails() -> None:
    fast = dataclasses.replace(RULES, others=others(780.0, 14))
    slow = turn("product_rate", 690)(make())
    assert decide(judge(slow, RULES)) is Verdict.PASS
    (check,) = [check for check in judge(slow, fast) if check.outcome is Outcome.FAIL]
    assert (check.gpu, check.median) == (1, 780.0)
    assert check.reason == "690 TFLOP/s, 88% of the fleet's median of 780 TFLOP/s; at least 90% are wanted"


def test_the_other_gpus_of_the_node_are_part_of_the_fleet_and_a_gpu_is_not_compared_with_itself() -> None:
    one = judge(make(), dataclasses.replace(RULES, others=others(700.0, 2)))
    medians = [check.median for check in one if check.name == "product_rate"]
    assert medians == [700.0, 700.0]
    assert [check.median for check in judge(make(), RULES) if check.name == "product_rate"] == [None, None]


def test_gpus_of_another_model_and_other_figures_are_not_compared() -> None:
    rules = dataclasses.replace(RULES, others=others(9000.0, 9, model="NVIDIA B200") + others(9000.0, 9, name="fp9"))
    assert decide(judge(make(), rules)) is Verdict.PASS


def test_a_disk_is_compared_with_those_of_servers_of_its_kind() -> None:
    fast = [Other("storage_read", 6000.0, kind) for kind in (f"{H100}, {H100}", "NVIDIA A30") for _ in range(2)]
    assert decide(judge(make(), dataclasses.replace(RULES, others=tuple(fast)))) is Verdict.PASS
    fast.append(fast[0])
    (check,) = [
        one for one in judge(make(), dataclasses.replace(RULES, others=tuple(fast))) if one.outcome is Outcome.FAIL
    ]
    assert (check.name, check.median) == ("storage_read", 6000.0)


def test_an_unknown_model_is_judged_by_the_fleet_alone_and_says_so() -> None:
    stranger = dataclasses.replace(RULES, floors={})
    alone = judge(make(), stranger)
    told = {check.name: check.reason for check in alone if check.outcome is Outcome.SKIPPED}
    assert told["product_rate"] == f"only told: no floor is known for {H100}, and no 3 others are to compare"
    # What holds for every GPU holds for it too.
    assert decide(judge(turn("ecc_uncorrected", 1)(make()), stranger)) is Verdict.FAIL
    fleet = dataclasses.replace(stranger, others=others(728.0, 8))
    assert [c.reason for c in judge(make(), fleet) if c.name == "product_rate"] == [
        "no floor is known: 90% of the median counts"
    ] * 2
    assert decide(judge(turn("product_rate", 600)(make()), fleet)) is Verdict.FAIL


def test_the_sites_own_bounds_win() -> None:
    strict = dataclasses.replace(RULES, site={"storage_read": 5000, "temperature": 50, "nic": 200_000})
    failed = {check.name: check for check in judge(make(), strict) if check.outcome is Outcome.FAIL}
    assert set(failed) == {"storage_read", "temperature", "nic"}
    assert failed["storage_read"].reason == "3,100 MB/s, under the floor of 5,000 MB/s (this site's accept_floors)"
    lax = dataclasses.replace(RULES, site={"ecc_corrected": 100})
    assert decide(judge(turn("ecc_corrected", 7)(make()), lax)) is Verdict.PASS


def test_a_bound_that_the_device_tells_counts_before_the_one_for_all() -> None:
    figures = tuple(
        dataclasses.replace(one, bound=60.0) if one.name == "temperature" else one for one in make().figures
    )
    failed = [c for c in judge(make(figures=figures), RULES) if c.outcome is Outcome.FAIL]
    assert {check.name for check in failed} == {"temperature"}
    assert "the device's own" in failed[0].reason


def test_a_node_without_gpus_is_judged_by_its_disk_and_network() -> None:
    bare = make(0)
    checks = judge(bare, Rules(gpus=0))
    assert {check.name for check in checks} == {"gpu_count", "storage_read", "nic"}
    assert decide(checks) is Verdict.PASS
    assert decide(judge(bare, Rules(gpus=2))) is Verdict.FAIL


def test_one_gpu_has_no_peers_and_passes() -> None:
    one = make(1)
    one = lose("peer", Lack.OTHER, gpu=0)(lose("peer_rate", Lack.OTHER, gpu=0)(one))
    one = lose("all-reduce", Lack.OTHER, gpu=-1)(lose("all_reduce", Lack.OTHER, gpu=-1)(one))
    assert decide(judge(one, dataclasses.replace(RULES, gpus=1))) is Verdict.PASS


def test_what_failed_is_in_the_order_of_its_weight() -> None:
    worse = turn("temperature", 99)(spoil("memory")(turn("copy_rate", 1)(make())))
    failed = [check.name for check in judge(worse, RULES) if check.outcome is Outcome.FAIL]
    assert failed == ["memory", "copy_rate", "temperature"]


def test_the_figures_of_a_node_are_told_to_its_neighbours() -> None:
    told = list(list_others(make()))
    assert Other("product_rate", 728.0, H100) in told
    assert Other("storage_read", 3100.0, f"{H100}, {H100}") in told
    assert len([one for one in list_others(make(), but=1) if one.name == "product_rate"]) == 1


def test_every_floor_of_the_catalog_is_of_a_known_figure_and_gpu_with_its_source() -> None:
    floors = read_floors()
    assert {"2330", "2335", "20b2", "20b0", "20b5", "1eb8"} <= set(floors)
    for id, one in floors.items():
        kind = find_kind(id)
        assert kind, id
        assert one.source
        assert one.date
        assert set(one.bounds) <= {name for name in ABOUT if not name.startswith("look:")}
        assert all(value > 0 for value in one.bounds.values())


def test_every_figure_says_what_to_do_when_it_fails() -> None:
    assert all(about.title and about.mend for about in ALL)
    assert len(ABOUT) == len(ALL)
