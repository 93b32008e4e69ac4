"""IOMMU and ACS: what takes the direct way between GPUs and network cards."""

import base64
import struct
from pathlib import Path

import pytest
from dsops.control.doctor.answer import read_answer
from dsops.control.doctor.finding import Status
from dsops.control.doctor.gpus import Gpu, read_gpus
from dsops.control.doctor.iommu import Iommu, find_acs, judge_acs, judge_iommu, read_iommu

HGX = read_answer((Path(__file__).with_name("answers") / "hgx-h100.txt").read_text())
GPU = Gpu("0000:1b:00.0", "2330", parents=("0000:15:01.0",))


def make_config(*capabilities: tuple[int, int, int], size: int = 4096) -> bytes:
    """A configuration space with (offset, id, next) capabilities; ACS' control bits are 0x1d."""
    config = bytearray(size)
    for offset, kind, follows in capabilities:
        struct.pack_into("<I", config, offset, kind | 1 << 16 | follows << 20)
        if kind == 0x0D and offset + 8 <= size:
            struct.pack_into("<H", config, offset + 6, 0x1D)
    return bytes(config)


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        (make_config((0x100, 0x01, 0x148), (0x148, 0x0D, 0)), 0x1D),
        (make_config((0x100, 0x0D, 0)), 0x1D),
        (make_config((0x100, 0x01, 0)), 0),
        (make_config(), 0),
        (make_config((0x100, 0x01, 0x100)), 0),  # a chain that bites its tail
        (make_config((0x100, 0x01, 0xFF8), (0xFF8, 0x0D, 0), size=0xFFC), 0),  # cut off in its middle
        (b"\xff" * 4096, 0),  # a bridge that answers no more
        (make_config()[:256], None),
        (b"", None),
    ],
)
def test_acs_is_found_in_a_bridges_configuration(config: bytes, bits: int | None) -> None:
    assert find_acs(config) == bits


def test_what_a_server_says_is_read_and_rubbish_is_not_believed() -> None:
    said = f"iommu=140 DMA-FQ\niommu=2 identity\nconfig=a {base64.b64encode(make_config()).decode()}\n"
    seen = read_iommu(read_answer(said + "config=b\nconfig=c ***\n"))
    assert seen == Iommu({"DMA-FQ": 140, "identity": 2}, {"a": 0})


def test_bridges_above_gpus_that_redirect_are_named_and_counted() -> None:
    (found,) = judge_acs("gpu1", read_iommu(HGX), read_gpus(HGX))
    assert found.status is Status.WARNING
    assert "on 0000:1a:00.0, 0000:42:00.0, 0000:51:00.0, 0000:60:00.0 and 4 more" in found.what


def test_acs_off_unread_or_without_bridges() -> None:
    assert judge_acs("gpu1", Iommu(acs={"0000:15:01.0": 1}), [GPU])[0].what == "off on 1 bridge above the GPUs"
    assert judge_acs("gpu1", Iommu(), [GPU])[0].status is Status.SKIPPED
    assert judge_acs("gpu1", Iommu(), [Gpu("a", "2330")]) == []


@pytest.mark.parametrize(
    ("kind", "types", "status"),
    [
        ("DMA-FQ", {"DMA-FQ": 3, "identity": 9}, Status.WARNING),
        ("identity", {"DMA": 3, "identity": 9}, Status.OK),
        ("", {"identity": 9}, Status.OK),
        ("", {"DMA": 9}, Status.WARNING),
        ("", {}, Status.OK),
    ],
)
def test_an_iommu_that_translates_for_gpus_is_a_warning(kind: str, types: dict[str, int], status: Status) -> None:
    (found,) = judge_iommu("gpu1", Iommu(types), [Gpu("a", "2330", iommu=kind)])
    assert found.status is status
    assert judge_iommu("gpu1", Iommu(types), []) == []
