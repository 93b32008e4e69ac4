"""Spare rows of the GPU's memory that take the place of broken ones; before Ampere, pages that are left out."""

from collections.abc import Iterable

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found
from dsops.node.checks.gpus.card import Card, look_at, need

PENDING, FAILED, PAGES = "gpu.remap_pending", "gpu.remap_failed", "gpu.retired_pages"


def judge_pending(card: Card) -> Found:
    is_bad = bool(card.get("remap_pending"))
    return Found(is_bad, "a row waits for a reset to be remapped" if is_bad else "no row waits for a reset")


def look_at_pending(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, PENDING, judge_pending)


def judge_failed(card: Card) -> Found:
    most, rows = card.scene.limit(FAILED, "rows"), card.get("remapped_uncorrected")
    if card.get("remap_failed"):
        return Found(True, "a broken row could not be remapped: no spare one is left", rows, most)
    return Found(rows >= most, f"{rows:.0f} rows were remapped for uncorrected errors, of {most:g}", rows, most)


def look_at_failed(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, FAILED, judge_failed)


def judge_pages(card: Card) -> Found:
    double, single = card.get("retired_dbe"), card.get("retired_sbe")
    pages, most = single + double, card.scene.limit(PAGES, "pages")
    most_double = card.scene.limit(PAGES, "double_bit")
    says = f"{pages:.0f} pages are retired, {double:.0f} of them for double-bit errors"
    if pages >= most or double > most_double:
        return Found(True, f"{says}; {most:g} and {most_double:g} at most", pages, most)
    if card.get_or("retired_pending", 0):
        return Found(True, f"{says}; one more waits for a reset", pages, most, mend="reset it at a quiet time")
    return Found(False, says, pages, most)


def look_at_pages(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, PAGES, judge_pages)


CHECKS = (
    Check(PENDING, (PENDING,), look_at_pending, needs=need("remap_pending", what="rows that wait for a reset")),
    Check(
        FAILED,
        (FAILED,),
        look_at_failed,
        needs=need("remap_failed", "remapped_uncorrected", what="rows that were remapped"),
    ),
    Check(
        PAGES, (PAGES,), look_at_pages, needs=need("retired_dbe", what="retired pages: those from Ampere on have none")
    ),
)
