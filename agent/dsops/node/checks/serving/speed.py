"""A release is slower than its own passport says that it is on this hardware, though it serves nobody else."""

from collections.abc import Callable, Iterator
from statistics import median

from dsops.core.checks import Sight
from dsops.core.passport import Passport
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found, Missing, Unreadable
from dsops.node.checks.serving.slots import EVERY, find_no_slots, look_at
from dsops.node.sources.serving import Asked, SlotServing
from dsops.node.sources.unread import Unread

PER_TOKEN, FIRST_TOKEN = "serving.per_token", "serving.first_token"
WITHIN = 600.0
Times = Callable[[Asked, float], float | None]


def look(scene: Scene) -> Iterator[Sight]:
    """Measured with dsops' own prompts, as the passport was; clients' times say more of their load."""
    yield from look_at(scene, PER_TOKEN, lambda slot: _judge(scene, slot, PER_TOKEN, _find_per_token))
    yield from look_at(scene, FIRST_TOKEN, lambda slot: _judge(scene, slot, FIRST_TOKEN, _find_first_token))


def _find_per_token(asked: Asked, rate: float) -> float | None:
    """In times of what the passport has, which includes the way to the first token."""
    return None if asked.per_token is None else asked.per_token * rate


def _find_first_token(asked: Asked, rate: float) -> float | None:
    """In times of what the whole answer took then: of the first token alone a passport says nothing."""
    if asked.first_token is None or asked.wanted < 1:
        return None
    return asked.first_token * rate / asked.wanted


def _judge(scene: Scene, slot: SlotServing, code: str, times: Times) -> Found:
    """Of what nobody else was served beside; on a server that is never idle there is nothing to compare."""
    passport = _get_passport(slot)
    rate = passport.rate
    if rate is None:
        raise Missing
    alone = [one for one in slot.answers if one.is_alone and scene.ticks - one.at <= WITHIN]
    found = [value for one in alone if (value := times(one, rate)) is not None]
    if len(found) < scene.limit(code, "answers"):
        raise Missing
    value, most = median(found), scene.limit(code, "times")
    unit = "each token takes" if code == PER_TOKEN else "the first token takes"
    than = "a token took" if code == PER_TOKEN else "a whole answer took"
    says = f"{unit} {value:.1f} times as long as {than} for its passport ({passport.node}, {rate:,.0f} tokens/s)"
    return Found(value > most, says, value, most)


def _get_passport(slot: SlotServing) -> Passport:
    if isinstance(slot.passport, Unread):
        raise Unreadable(slot.passport.reason)
    if slot.passport is None:
        raise Missing
    return slot.passport


def needs(scene: Scene) -> str:
    if reason := find_no_slots(scene):
        return reason
    passports = [slot.passport for slot in scene.serving.slots if slot.release]
    if all(one is None for one in passports):
        return "no release here has a passport for this hardware: `dsops release passport NODE`"
    counted = [one for one in passports if one is not None and (isinstance(one, Unread) or one.rate is not None)]
    return "" if counted else "no passport here has a token rate: its engine counted none"


CHECK = Check("serving.speed", (PER_TOKEN, FIRST_TOKEN), look, needs=needs, every=EVERY)
