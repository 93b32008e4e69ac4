"""What an engine tells of itself on Triton's metrics page, whichever engine it is and by whatever names."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from dsops.core.decode import decode
from dsops.node.sources.metrics import Sample, parse_samples

GENERATED, WAITING, CACHE_USED, PREEMPTIONS, NANS = "generated", "waiting", "cache_used", "preemptions", "nans"


class Kind(StrEnum):
    """How several samples of one name become one: shares by the greatest of them, the others by their sum."""

    COUNTER = "counter"
    LEVEL = "level"
    SHARE = "share"


@dataclass(frozen=True)
class Key:
    """One thing that engines tell. names: each with the labels that a sample must have, as the page writes them."""

    kind: Kind
    names: tuple[str, ...]


@cache
def get_keys() -> Mapping[str, Key]:
    """As dsops ships them."""
    table = tomllib.loads((resources.files("dsops.node.sources") / "engines.toml").read_text())
    return {key: decode(Key, row, where=f"engines.toml: {key}") for key, row in table.items() if key != "about"}


def list_counters() -> tuple[str, ...]:
    return tuple(key for key, one in get_keys().items() if one.kind is Kind.COUNTER)


def find_told(page: str) -> Mapping[str, float]:
    """key -> what the page says; what the engine does not tell is not there."""
    wanted = {name.partition("{")[0] for key in get_keys().values() for name in key.names}
    samples = [one for one in parse_samples(page) if one.name in wanted and math.isfinite(one.value)]
    found = {key: _find(one, samples) for key, one in get_keys().items()}
    return {key: value for key, value in found.items() if value is not None}


def _find(key: Key, samples: list[Sample]) -> float | None:
    for name in key.names:
        [wanted] = parse_samples(f"{name} 0")
        if values := [one.value for one in samples if _fits(one, wanted)]:
            return max(values) if key.kind is Kind.SHARE else sum(values)
    return None


def _fits(sample: Sample, wanted: Sample) -> bool:
    return sample.name == wanted.name and wanted.labels.items() <= sample.labels.items()
