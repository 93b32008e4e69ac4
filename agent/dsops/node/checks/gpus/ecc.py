"""Memory errors: those that were corrected, those that could not be, and whether anybody counts them."""

from collections.abc import Iterable

from dsops.core.checks import Sight
from dsops.core.status import Measure
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found, Missing
from dsops.node.checks.gpus.card import Card, look_at, need

DOUBLE, SINGLE, SRAM, MODE = "gpu.ecc_dbe", "gpu.ecc_sbe_rate", "gpu.ecc_sram", "gpu.ecc_mode"
WINDOW_SECONDS = 60.0
FRESH_SECONDS = 1800.0


def judge_double(card: Card) -> Found:
    """The count begins anew with a reset: what stands there was not seen to yet. A fresh one may be why an engine
    fails, and a fresh start has other memory."""
    count = card.get("ecc_uncorrected")
    says = f"{count:.0f} uncorrected memory errors since its last reset"
    if not count:
        return Found(False, says, count, 0)
    try:
        is_fresh = card.get_grown("ecc_uncorrected", within=FRESH_SECONDS) > 0
    except Missing:
        is_fresh = False
    return Found(True, says, count, 0, Measure.RESTART if is_fresh else Measure.ALERT)


def look_at_double(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, DOUBLE, judge_double)


def judge_single(card: Card) -> Found:
    most = card.scene.limit(SINGLE, "per_second")
    rate = card.get_rate("ecc_corrected", within=WINDOW_SECONDS)
    return Found(rate > most, f"{rate:.0f} corrected memory errors a second, of {most:g}", rate, most)


def look_at_single(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, SINGLE, judge_single)


def judge_sram(card: Card) -> Found:
    is_bad = bool(card.get("sram_exceeded"))
    return Found(is_bad, f"its SRAM has {'more' if is_bad else 'no more'} errors than the vendor's threshold")


def look_at_sram(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, SRAM, judge_sram)


def judge_mode(card: Card) -> Found:
    now, pending = card.get("ecc_mode"), card.get("ecc_mode_pending")
    then = "" if now == pending else f", and {'on' if pending else 'off'} after the next reset"
    return Found(not (now and pending), f"ECC is {'on' if now else 'off'}{then}", now, 1)


def look_at_mode(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, MODE, judge_mode)


CHECKS = (
    Check(DOUBLE, (DOUBLE,), look_at_double, needs=need("ecc_uncorrected", what="memory errors")),
    Check(SINGLE, (SINGLE,), look_at_single, needs=need("ecc_corrected", what="corrected memory errors")),
    Check(SRAM, (SRAM,), look_at_sram, needs=need("sram_exceeded", what="errors of its SRAM")),
    Check(MODE, (MODE,), look_at_mode, needs=need("ecc_mode", what="whether ECC is on")),
)
