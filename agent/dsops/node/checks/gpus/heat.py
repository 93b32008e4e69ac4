"""Heat, measured against what the card itself bears."""

from collections.abc import Iterable

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found
from dsops.node.checks.gpus.card import Card, look_at, need

CORE, MEMORY, MARGIN = "gpu.hot", "gpu.memory_hot", "gpu.margin"


def _compare(now: float, most: float, what: str) -> Found:
    return Found(now >= most, f"{what} at {now:.0f} °C, of {most:.0f} °C", now, most)


def judge_core(card: Card) -> Found:
    return _compare(card.get("temperature"), card.get("temperature_max"), "the GPU is")


def look_at_core(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, CORE, judge_core)


def judge_memory(card: Card) -> Found:
    return _compare(card.get("memory_temperature"), card.get("memory_temperature_max"), "its memory is")


def look_at_memory(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, MEMORY, judge_memory)


def judge_margin(card: Card) -> Found:
    """Some cards say 0 and less while they are well: only the distance at which this one slows down counts."""
    margin, least = card.get("margin"), card.get("margin_slowdown")
    return Found(margin <= least, f"{margin:.0f} °C are left, it slows down at {least:.0f} °C", margin, least)


def look_at_margin(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, MARGIN, judge_margin)


CHECKS = (
    Check(CORE, (CORE,), look_at_core, needs=need("temperature", "temperature_max", what="how hot it may be")),
    Check(
        MEMORY,
        (MEMORY,),
        look_at_memory,
        needs=need("memory_temperature", "memory_temperature_max", what="how hot its memory may be"),
    ),
    Check(MARGIN, (MARGIN,), look_at_margin, needs=need("margin", "margin_slowdown", what="when it slows down")),
)
