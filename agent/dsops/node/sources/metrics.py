"""Reads numbers out of a Prometheus text page: sample by sample, or each name's sum over its labels."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """One line of the page."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse_samples(text: str) -> Iterator[Sample]:
    """Lenient: a line that is no sample, or whose value is no number, is skipped."""
    for name, labels, value in _parse(text):
        yield Sample(name, dict(_LABEL.findall(labels)), value)


def parse_sums(text: str) -> Mapping[str, float]:
    """Sample name to sum, as lenient."""
    sums: dict[str, float] = {}
    for name, _, value in _parse(text):
        sums[name] = sums.get(name, 0.0) + value
    return sums


def _parse(text: str) -> Iterator[tuple[str, str, float]]:
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        number = _find_number(match[3]) if match else None
        if match and number is not None:
            yield match[1], match[2] or "", number


def _find_number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return None if math.isnan(value) else value
