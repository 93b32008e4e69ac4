"""GPUs as PCI shows them: a recorded server, one after documentation, and each way in which a card is unfit."""

from dataclasses import replace
from pathlib import Path

import pytest
from dsops.catalog.gpus import find_kind, read_kinds
from dsops.control.doctor.answer import read_answer
from dsops.control.doctor.finding import Finding, Status
from dsops.control.doctor.gpus import (
    GIB,
    MIB,
    Gpu,
    count_names,
    find_parents,
    find_window,
    judge_cards,
    judge_count,
    judge_fabric,
    judge_kinds,
    judge_links,
    read_gpus,
    read_switches,
)

ANSWERS = Path(__file__).with_name("answers")
GUEST = read_answer((ANSWERS / "h100-x4-guest.txt").read_text())
HGX = read_answer((ANSWERS / "hgx-h100.txt").read_text())
H100 = Gpu("0000:1b:00.0", "2330", width=16, max_width=16, window=128 * GIB)
NARROW = replace(H100, width=8)


def test_four_recorded_h100s_are_read() -> None:
    gpus = read_gpus(GUEST)
    assert [gpu.address for gpu in gpus] == ["0000:00:06.0", "0000:00:07.0", "0000:00:08.0", "0000:00:09.0"]
    assert {(gpu.name, gpu.driver, gpu.width, gpu.max_width, gpu.speed, gpu.window) for gpu in gpus} == {
        ("H100 SXM5 80GB", "nvidia", 16, 16, "32.0 GT/s", 128 * GIB)
    }
    assert {gpu.parents for gpu in gpus} == {()}
    assert read_switches(GUEST) == ()


def test_a_board_of_eight_without_a_driver_is_read() -> None:
    gpus = read_gpus(HGX)
    assert count_names(gpus) == "8 x H100 SXM5 80GB"
    assert [gpu.node for gpu in gpus] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert gpus[0].parents == ("0000:15:01.0", "0000:19:00.0", "0000:1a:00.0")
    assert {(gpu.driver, gpu.iommu) for gpu in gpus} == {("", "DMA-FQ")}
    assert read_switches(HGX) == ("22a3",) * 4


def test_the_window_is_the_largest_region_that_has_an_address() -> None:
    unassigned = "0x0000000000000000 0x0000001fffffffff 0x000000000014220c"
    registers = "0x00000000f0000000 0x00000000f0ffffff 0x0000000000040200"
    assert find_window(f"{registers}\n{unassigned}") == 16 * MIB
    assert find_window("") == 0
    assert find_parents("") == ()


def test_the_catalog_names_each_id_once_and_knows_no_other() -> None:
    assert len(read_kinds()) > 25
    assert all(
        len(id) == 4 and int(id, 16) and kind.memory_gb and 3 <= kind.pcie <= 6 for id, kind in read_kinds().items()
    )
    t4 = find_kind("1EB8")
    assert t4 is not None
    assert (t4.name, t4.has_fabric) == ("T4", False)
    assert find_kind("ffff") is None
    assert Gpu("a", "ffff").name == "10de:ffff"


def status(findings: list[Finding]) -> list[Status]:
    return [finding.status for finding in findings]


def test_a_module_that_does_not_fit_its_library_says_so() -> None:
    (found,) = judge_count("gpu1", [H100], by_driver="error 18", wanted=1)
    assert (found.status, "driver was changed" in found.mend) == (Status.PROBLEM, True)


def test_a_driver_that_nobody_can_ask_yet_leaves_the_count_to_pci_or_unknown() -> None:
    assert status(judge_count("gpu1", [H100], by_driver="unasked", wanted=1)) == [Status.OK]
    assert status(judge_count("gpu1", [H100], by_driver="unasked", wanted=2)) == [Status.PROBLEM]
    assert status(judge_count("gpu1", [], by_driver="unasked", wanted=2)) == [Status.UNKNOWN]


def test_one_kind_a_server_unless_the_inventory_says_otherwise() -> None:
    mixed = [H100, replace(H100, device="1eb8")]
    (found,) = judge_kinds("gpu1", mixed, wanted=())
    assert (found.status, found.what) == (Status.WARNING, "has several kinds of GPUs (1 x H100 SXM5 80GB, 1 x T4)")
    assert "preflight_gpu_kinds = ['H100 SXM5 80GB', 'T4']" in found.mend
    assert status(judge_kinds("gpu1", mixed, wanted=("T4", "H100 SXM5 80GB"))) == [Status.OK]
    assert status(judge_kinds("gpu1", mixed, wanted=("T4",))) == [Status.PROBLEM]
    assert "not in the catalog" in judge_kinds("gpu1", [Gpu("a", "ffff")], wanted=())[0].what
    assert judge_kinds("gpu1", [], wanted=()) == []


@pytest.mark.parametrize(
    ("card", "what"),
    [
        (replace(H100, width=63), "GPU 0000:1b:00.0 answers no more on PCI (fallen off the bus)"),
        (replace(H100, window=16 * MIB), "got no window on its memory from the firmware"),
        (replace(H100, driver="vfio-pci"), "is bound to vfio-pci, for a guest"),
    ],
)
def test_a_card_that_cannot_be_used_is_a_problem(card: Gpu, what: str) -> None:
    (found,) = judge_cards("gpu1", [H100, card])
    assert (found.status, what in found.what) == (Status.PROBLEM, True)
    assert found.mend


def test_cards_that_are_fit_tell_their_window() -> None:
    assert judge_cards("gpu1", [H100, replace(H100, window=256 * MIB)])[0].what.endswith("256 MiB and 128 GiB")
    assert judge_cards("gpu1", []) == []


def test_missing_lanes_are_a_warning_and_an_idle_speed_is_not() -> None:
    (found,) = judge_links("gpu1", [H100, NARROW])
    assert (found.status, "0000:1b:00.0 x8 of x16" in found.what) == (Status.WARNING, True)
    (found,) = judge_links("gpu1", read_gpus(HGX))
    assert (found.status, found.what) == (Status.OK, "8 at x16, 2.5 GT/s of 32.0 GT/s (idle links are slower)")
    # A guest often does not know.
    assert judge_links("gpu1", [replace(H100, width=0)]) == []


def test_a_board_with_switches_needs_the_fabric_manager_once_there_is_a_driver() -> None:
    bare = read_gpus(HGX)
    driven = [replace(gpu, driver="nvidia") for gpu in bare]
    assert status(judge_fabric("gpu1", bare, ["22a3"] * 4, manager="")) == [Status.SKIPPED]
    (found,) = judge_fabric("gpu1", driven, ["22a3"] * 4, manager="")
    assert (found.status, "(not installed): CUDA will not start" in found.what) == (Status.WARNING, True)
    assert status(judge_fabric("gpu1", driven, ["22a3"] * 4, manager="active")) == [Status.OK]
    # Newer boards show no switch on PCI.
    assert "eight GPUs" in judge_fabric("gpu1", driven, [], manager="")[0].what
    assert judge_fabric("gpu1", driven[:4], [], manager="") == []
    assert judge_fabric("gpu1", [replace(H100, device="1eb8")] * 8, [], manager="") == []
