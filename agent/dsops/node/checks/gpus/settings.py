"""Settings and the card's own memory of them: power sensor, persistence, infoROM, VBIOS."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from dsops.core.checks import Sight
from dsops.core.ledger import GPUS
from dsops.core.status import Verdict
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found, Missing, Unreadable
from dsops.node.checks.gpus.card import Card, find_no_sweep, list_cards, look_at, need, see

POWER, PERSISTENCE, INFOROM, VBIOS = "gpu.power_unreadable", "gpu.persistence", "gpu.inforom", "gpu.vbios"


def judge_power(card: Card) -> Found:
    """Here the error itself is what is looked for: a sensor that is there and does not answer."""
    try:
        watts = card.get("power") / 1000
    except Unreadable as error:
        return Found(True, f"its power cannot be read: {error}")
    return Found(False, f"it draws {watts:.0f} W", watts)


def look_at_power(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, POWER, judge_power)


def judge_persistence(card: Card) -> Found:
    is_on = bool(card.get("persistence"))
    return Found(not is_on, f"persistence mode is {'on' if is_on else 'off'}")


def look_at_persistence(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, PERSISTENCE, judge_persistence)


def judge_inforom(card: Card) -> Found:
    is_bad = bool(card.get("inforom_corrupt"))
    return Found(is_bad, f"its infoROM is {'corrupt' if is_bad else 'well'}")


def look_at_inforom(scene: Scene) -> Iterable[Sight]:
    return look_at(scene, INFOROM, judge_inforom)


def look_at_vbios(scene: Scene) -> Iterator[Sight]:
    """GPUs of one kind in one server should have the same."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    errors = []
    for card in list_cards(scene):
        try:
            found[card.gpu.name][card.get_text("vbios")].append(card.entity)
        except Unreadable as error:
            errors.append(f"{card.entity}: {error}")
        except Missing:
            continue
    odd = next((versions for versions in found.values() if len(versions) > 1), None)
    if odd:
        says = "; ".join(f"{version}: {', '.join(cards)}" for version, cards in sorted(odd.items()))
        yield see(scene, VBIOS, GPUS, Found(True, f"GPUs of one kind have different VBIOS versions: {says}"))
    elif errors:
        yield Sight(VBIOS, GPUS, Verdict.UNKNOWN, scene.gpus_sample, "; ".join(errors))
    else:
        yield see(scene, VBIOS, GPUS, Found(False, "GPUs of one kind have the same VBIOS version"))


def find_nothing_to_compare(scene: Scene) -> str:
    if reason := find_no_sweep(scene):
        return reason
    told = sum((gpu.index, "vbios") in scene.gpus.table for gpu in scene.gpus.gpus)
    return "" if told > 1 else "there is one GPU: nothing to compare it with"


CHECKS = (
    Check(POWER, (POWER,), look_at_power, needs=need("power", what="its power")),
    Check(PERSISTENCE, (PERSISTENCE,), look_at_persistence, needs=need("persistence", what="its persistence mode")),
    Check(INFOROM, (INFOROM,), look_at_inforom, needs=need("inforom_corrupt", what="the state of its infoROM")),
    Check(VBIOS, (VBIOS,), look_at_vbios, needs=find_nothing_to_compare),
)
