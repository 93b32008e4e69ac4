"""How NVIDIA's GPUs can be divided into instances (MIG), by PCI device id, from mig.toml."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from dsops.core.decode import decode
from dsops.core.mig import Kind, Kinds

DATA = Path(__file__).with_name("mig.toml")


@cache
def read_kinds() -> tuple[Kind, ...]:
    """All products that can be divided."""
    return decode(Kinds, tomllib.loads(DATA.read_text()), where=DATA.name).kinds


@cache
def _by_id() -> Mapping[str, Kind]:
    return {id: kind for kind in read_kinds() for id in kind.ids}


def find_kind(device: str) -> Kind | None:
    """The product of a PCI device id such as `20b2`; None when it cannot be divided, or the table does not know it."""
    return _by_id().get(device.lower())
