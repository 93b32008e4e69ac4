"""Reads numbers out of a Prometheus text page: each sample's sum over its labels."""

import math
import re
from collections.abc import Mapping

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{.*\})?\s+(\S+)")


def parse_sums(text: str) -> Mapping[str, float]:
    """Sample name to sum. Pure and lenient: a line that is no sample is skipped."""
    sums: dict[str, float] = {}
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        number = _find_number(match[2]) if match else None
        if match and number is not None:
            sums[match[1]] = sums.get(match[1], 0.0) + number
    return sums


def _find_number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return None if math.isnan(value) else value
