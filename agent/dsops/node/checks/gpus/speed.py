"""Whether the clocks are held down: by the hardware, by the power cap, or by nobody knows what."""

from collections.abc import Iterable

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found, Missing
from dsops.node.checks.gpus.card import Card, look_at, need

HARDWARE, SOFTWARE, CLOCKS = "gpu.throttle_hw", "gpu.throttle_sw", "gpu.clocks"
WINDOW_SECONDS = 600.0


def _judge(card: Card, code: str, key: str, why: str) -> Found:
    most = card.scene.limit(code, "minutes")
    minutes = card.get_grown(key, within=WINDOW_SECONDS)
    says = f"{why} held its clock down in {minutes:.0f} of the last {WINDOW_SECONDS / 60:g} minutes"
    return Found(minutes >= most, says, minutes, most)


def look_at_hardware(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, HARDWARE, lambda card: _judge(card, HARDWARE, "throttle_hw", "heat or the power brake"))


def look_at_software(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, SOFTWARE, lambda card: _judge(card, SOFTWARE, "throttle_sw", "the power cap or the driver"))


def judge_clocks(card: Card) -> Found:
    """Under load only: at rest a low clock is as it should be, and tells nothing of the load before."""
    clock, most, load = card.get("clock"), card.get("clock_max"), card.get("utilization")
    least = most * card.scene.limit(CLOCKS, "percent") / 100
    if load < card.scene.limit(CLOCKS, "load"):
        raise Missing
    return Found(clock < least, f"its clock is {clock:.0f} MHz at {load:.0f} % load, of {most:.0f} MHz", clock, least)


def look_at_clocks(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, CLOCKS, judge_clocks)


CHECKS = (
    Check(HARDWARE, (HARDWARE,), look_at_hardware, needs=need("reasons", what="why its clocks are low")),
    Check(SOFTWARE, (SOFTWARE,), look_at_software, needs=need("reasons", what="why its clocks are low")),
    Check(CLOCKS, (CLOCKS,), look_at_clocks, needs=need("clock", "clock_max", what="its clocks")),
)
