"""The least (or the most) that each GPU model must show to be accepted, by PCI device id, from gpus.toml."""

import tomllib
from collections.abc import Mapping
from functools import cache

from dsops.catalog.gpus import DATA
from dsops.core.accept.judge import Floors


@cache
def read_floors() -> Mapping[str, Floors]:
    """device id, four hex digits -> the model's floors."""
    listed = tomllib.loads(DATA.read_text())["floors"]
    return {
        id: Floors(one["name"], one["source"], str(one["date"]), {key: float(it) for key, it in one["least"].items()})
        for one in listed
        for id in one["ids"]
    }
