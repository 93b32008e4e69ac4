"""The GPU's link to its server: its width, its generation, and how often it had to send again."""

from collections.abc import Iterable

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found, Missing
from dsops.node.checks.gpus.card import Card, look_at, need

WIDTH, GENERATION, REPLAYS = "pcie.width", "pcie.generation", "pcie.replays"
WINDOW_SECONDS = 60.0
# Of which the threshold a lane is told; each generation after it has twice the rate.
FIRST_GENERATION = 3


def judge_width(card: Card) -> Found:
    width, most = card.get("pcie_width"), card.get("pcie_width_max")
    return Found(width < most, f"its PCIe link has {width:.0f} of {most:.0f} lanes", width, most)


def look_at_width(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, WIDTH, judge_width)


def judge_generation(card: Card) -> Found:
    """Under load only: at rest cards save power with a slower link."""
    now, most, load = card.get("pcie_generation"), card.get("pcie_generation_max"), card.get("utilization")
    if now < most and load < card.scene.limit(GENERATION, "load"):
        raise Missing
    return Found(now < most, f"its PCIe link is of generation {now:.0f} of {most:.0f} at {load:.0f} % load", now, most)


def look_at_generation(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, GENERATION, judge_generation)


def judge_replays(card: Card) -> Found:
    generation, lanes = card.get("pcie_generation_max"), card.get("pcie_width")
    most = card.scene.limit(REPLAYS, "per_lane_minute") * lanes * 2 ** (generation - FIRST_GENERATION)
    rate = card.get_rate("pcie_replays", within=WINDOW_SECONDS) * 60
    return Found(rate > most, f"its PCIe link sent {rate:.0f} packets again a minute, of {most:.0f}", rate, most)


def look_at_replays(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, REPLAYS, judge_replays)


LINK = "its PCIe link"
CHECKS = (
    Check(WIDTH, (WIDTH,), look_at_width, needs=need("pcie_width", "pcie_width_max", what=LINK)),
    Check(GENERATION, (GENERATION,), look_at_generation, needs=need("pcie_generation", "utilization", what=LINK)),
    Check(REPLAYS, (REPLAYS,), look_at_replays, needs=need("pcie_replays", what="what its PCIe link sent again")),
)
