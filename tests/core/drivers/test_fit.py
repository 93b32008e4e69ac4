"""What goes with which driver: every rule refuses what it is there for, and lets the rest be."""

from dataclasses import replace

import pytest
from dsops.catalog.gpus import read_kinds
from dsops.catalog.locksets import count_cards, get_lockset, read_locksets, read_rules
from dsops.core.drivers.fit import Cards, check_combination, is_engine_driven
from dsops.core.drivers.lockset import Flavour, Lockset, get_upstream, is_older
from dsops.core.errors import DsopsError

from tests.core.drivers.sets import BOARD, DEBIAN, OPEN

H100, B200, V100, T4, L4 = "2330", "2901", "1db4", "1eb8", "27b8"


def codes(lockset: Lockset, *ids: str, switches: int = 0, engines: tuple[str, ...] = (), system: str = "") -> list[str]:
    cards = count_cards(ids, switches=switches)
    return [one.code for one in check_combination(lockset, read_rules(), cards=cards, engines=engines, system=system)]


def says(lockset: Lockset, *ids: str, engines: tuple[str, ...] = ()) -> str:
    cards = count_cards(ids, switches=0)
    return "; ".join(one.says for one in check_combination(lockset, read_rules(), cards=cards, engines=engines))


def test_every_set_of_the_catalogue_is_one_by_itself() -> None:
    assert len(read_locksets()) >= 5
    for lockset in read_locksets():
        assert check_combination(lockset, read_rules(), system=lockset.system) == ()
        assert lockset.cited
        assert lockset.date
        # A pin without a version would take whatever comes.
        assert all(lockset.pins.values())
        assert lockset.kernel.release in lockset.kernel.package


def test_the_sets_from_debian_are_two_versions_of_one_kernel() -> None:
    old, new = get_lockset("debian12-535.261.03"), get_lockset("debian12-535.309.01")
    assert old.kernel == new.kernel
    assert is_older(old.driver, new.driver)
    assert old.pins.keys() == new.pins.keys()


def test_every_card_that_we_know_is_of_one_architecture() -> None:
    listed = [id for one in read_rules().architectures for id in one.ids]
    assert sorted(listed) == sorted(read_kinds())


def test_every_engine_of_the_table_has_a_driver_that_runs_it() -> None:
    rules = read_rules()
    assert all(is_engine_driven("999.1", one, rules) for one in rules.engines)
    assert not any(is_engine_driven("0", one, rules) for one in rules.engines if one.name != "openvino")


def test_an_unknown_set_is_named_with_its_nearest() -> None:
    with pytest.raises(DsopsError, match="no driver lockset 'debian12-535'") as caught:
        get_lockset("debian12-535")
    assert "debian12-535." in caught.value.mend


def test_what_goes_together_says_nothing() -> None:
    assert codes(OPEN, *[H100] * 8, switches=4, engines=("trtllm", "vllm")) == []
    assert codes(BOARD, *[B200] * 8) == []
    assert codes(DEBIAN, H100, L4, engines=("trtllm", "vllm", "transformers", "openvino")) == []
    assert codes(DEBIAN, T4, V100, engines=("vllm", "transformers")) == []


def test_a_set_for_another_system_is_refused() -> None:
    assert codes(DEBIAN, system="ubuntu 24.04") == ["system"]
    assert codes(DEBIAN, system="debian 12") == []


def test_open_modules_need_turing_and_blackwell_needs_open_modules() -> None:
    assert codes(OPEN, V100) == ["flavour"]
    assert "they begin with Turing" in says(OPEN, V100)
    assert codes(OPEN, T4) == []
    closed = replace(BOARD, flavour=Flavour.PROPRIETARY)
    assert codes(closed, *[B200] * 2) == ["flavour"]
    assert "open modules only" in says(closed, B200)


def test_a_driver_that_is_too_old_or_too_new_for_a_card_is_refused_with_both_versions() -> None:
    assert "needs driver 570.86.10 or newer (open modules), the set has 535.261.03" in says(
        replace(DEBIAN, flavour=Flavour.OPEN, driver="535.261.03"), B200
    )
    dropped = replace(DEBIAN, driver="590.44.01", persistenced="")
    assert "dropped after branch 580" in says(dropped, V100)


def test_a_card_that_nobody_knows_is_told_and_does_not_refuse() -> None:
    (found,) = check_combination(OPEN, read_rules(), cards=Cards(("ffff",)))
    assert (found.code, found.refuses) == ("card", False)


def test_nvlink_switches_need_the_fabric_manager_and_the_newest_the_subnet_manager_too() -> None:
    assert codes(DEBIAN, *[H100] * 8, switches=4) == ["fabric"]
    # Eight of such boards, though PCI shows no switch: so it is on B200.
    assert codes(replace(BOARD, nvlsm=""), *[B200] * 8) == ["nvlsm"]
    assert codes(replace(BOARD, nvlsm=""), *[H100] * 8, switches=4) == []
    # Four of them are wired to each other.
    assert codes(DEBIAN, *[H100] * 4) == []


def test_the_fabric_manager_must_have_the_drivers_version_whatever_its_packager_added() -> None:
    assert get_upstream("1:570.133.20-0ubuntu1") == "570.133.20"
    other = replace(OPEN, fabric_manager="nvidia-fabricmanager-570=570.172.08-1")
    assert codes(other) == ["fabric version"]
    assert "Fabric Manager 570.172.08 with driver 570.133.20" in says(other)
    assert codes(replace(OPEN, fabric_manager="", nvlsm="nvlsm=2025.10.14-1")) == ["nvlsm alone"]
    assert codes(replace(OPEN, persistenced="nvidia-persistenced=535.171.04-1")) == ["persistenced version"]


@pytest.mark.parametrize(
    ("driver", "engine", "fits"),
    [
        # The guides: TensorRT-LLM with CUDA 12.x, Transformers with 11.7, CUDA 11.6+ with 470.57.02.
        ("470.57.01", "transformers", False),
        ("470.57.02", "transformers", True),
        ("470.256.02", "trtllm", False),
        ("525.60.13", "trtllm", True),
        ("525.60.12", "vllm", False),
        # An image carries a bridge for some older branches, not for those between.
        ("535.309.01", "tritonserver-25.08", True),
        ("535.54.03", "tritonserver-25.08", False),
        ("555.42.02", "tritonserver-25.08", False),
        ("575.57.08", "tritonserver-25.08", True),
        ("390.1", "openvino", True),
    ],
)
def test_an_engine_finds_a_driver_or_says_which_it_needs(driver: str, engine: str, fits: bool) -> None:
    lockset = replace(DEBIAN, driver=driver, persistenced="")
    assert codes(lockset, engines=(engine,)) == ([] if fits else ["engine driver"])


def test_an_engine_without_kernels_for_a_card_and_one_that_nobody_knows_are_refused() -> None:
    assert codes(DEBIAN, T4, engines=("trtllm",)) == ["engine card"]
    assert "it needs compute capability 8.0, it has 7.5" in says(DEBIAN, T4, engines=("trtllm",))
    assert codes(DEBIAN, engines=("trtlm",)) == ["engine"]
