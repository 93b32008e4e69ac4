"""NVIDIA's server GPUs by PCI device id, from gpus.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).with_name("gpus.toml")


@dataclass(frozen=True)
class GpuKind:
    """One product. memory_gb: as sold, 10^9 bytes. has_fabric: needs the Fabric Manager on boards of eight."""

    id: str
    name: str
    memory_gb: int
    pcie: int
    has_fabric: bool = False


@cache
def read_kinds() -> Mapping[str, GpuKind]:
    """device id, four hex digits -> the product."""
    listed = tomllib.loads(DATA.read_text())["gpus"]
    return {
        one["id"]: GpuKind(one["id"], one["name"], one["memory_gb"], one["pcie"], one.get("fabric", False))
        for one in listed
    }


def find_kind(device: str) -> GpuKind | None:
    """The product of a PCI device id such as `2330`; None when the table does not know it."""
    return read_kinds().get(device.lower())
