"""An engine answers with what is no language at all: one word over and over, broken characters, or nothing.

Only answers to golden prompts are looked at, and only those that are not right: what clients get nobody reads.
"""

import re
import unicodedata
from collections.abc import Iterator

from dsops.core.checks import Sight
from dsops.node.checks.check import Check, Scene
from dsops.node.checks.found import Found, Missing, Unreadable
from dsops.node.checks.serving.slots import EVERY, find_no_slots, look_at
from dsops.node.sources.serving import SlotServing

CODE = "serving.garbage"
WITHIN = 600.0
REPLACEMENT = "\ufffd"
# More of an answer is not looked at.
LETTERS = 2000
# A piece of up to so many letters that comes again and again.
_LOOP = re.compile(r"(?s)(.{1,32}?)\1{3,}")
_SPACE = "\n\r\t"
_UNPRINTABLE = ("Cc", "Cn", "Co", "Cs")


def find_repeats(text: str) -> tuple[int, float]:
    """How often the most repeated piece comes in a row, and what share of the text that row is."""
    rows = [(len(found[0]) // len(found[1]), len(found[0]) / len(text)) for found in _LOOP.finditer(text)]
    return max(rows, default=(0, 0.0), key=lambda row: row[1])


def find_unprintable(text: str) -> float:
    """The share of its letters that are none. The end may be cut within a letter of several bytes."""
    whole = text.rstrip(REPLACEMENT) if len(text) - len(text.rstrip(REPLACEMENT)) == 1 else text
    return sum(_is_unprintable(letter) for letter in whole) / max(len(whole), 1)


def _is_unprintable(letter: str) -> bool:
    return letter == REPLACEMENT or (letter not in _SPACE and unicodedata.category(letter) in _UNPRINTABLE)


def find_variety(words: list[str]) -> float:
    """The share of different ones."""
    return len(set(words)) / max(len(words), 1)


def look(scene: Scene) -> Iterator[Sight]:
    """By the newest answer; each one is a reading of its own."""
    return look_at(
        scene, CODE, lambda slot: _judge(scene, slot), name=lambda slot: f"{max(_list_times(slot), default=0):.3f}"
    )


def _list_times(slot: SlotServing) -> list[float]:
    return [one.at for one in slot.answers]


def _judge(scene: Scene, slot: SlotServing) -> Found:
    asked = max(slot.answers, key=lambda one: one.at, default=None)
    if asked is None or scene.ticks - asked.at > WITHIN:
        raise Missing
    if asked.is_right is None:
        raise Unreadable(f"dsops' own prompt was not answered: {asked.says}")
    text = asked.text[:LETTERS]
    if asked.is_right:
        return Found(False, "its last answer was right")
    if not text.strip():
        return Found(True, "it answered with nothing")
    return _judge_text(scene, text)


def _judge_text(scene: Scene, text: str) -> Found:
    broken, most_broken = find_unprintable(text), scene.limit(CODE, "unprintable")
    if broken > most_broken:
        return Found(True, f"{broken:.0%} of its answer are no letters: {text[:40]!r}", broken, most_broken)
    times, share = find_repeats(text)
    most = scene.limit(CODE, "repeats")
    if times >= most and share >= scene.limit(CODE, "share"):
        return Found(True, f"its answer says one thing {times} times: {text[:40]!r}", times, most)
    words, least = text.split(), scene.limit(CODE, "variety")
    if len(words) >= scene.limit(CODE, "words") and (variety := find_variety(words)) < least:
        return Found(True, f"{variety:.0%} of its words are different: {text[:40]!r}", variety, least)
    return Found(False, "its last answer was wrong, but is language")


CHECK = Check(CODE, (CODE,), look, needs=find_no_slots, every=EVERY)
