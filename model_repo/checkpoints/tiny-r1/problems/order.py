"""Comparing, the largest and smallest of a list, sorting numbers and words, reversing a list."""

from collections.abc import Sequence
from random import Random

from .base import Problem, draw_number, draw_numbers, list_text, phrase, task
from .wordings import get_wordings
from .words import draw_words

FORMS = get_wordings("order")


def draw_comparable(rng: Random) -> tuple[str, str]:
    """Two different numbers as text: long, alike in front, or with decimals."""
    kind = rng.random()
    if kind < 0.3:
        whole = rng.randrange(100)
        a, b = (f"{whole}.{rng.randrange(10 ** rng.randint(1, 2))}" for _ in range(2))
    elif kind < 0.6:
        front, tail = draw_number(rng, 4), rng.randint(1, 3)
        a, b = (f"{front}{rng.randrange(10**tail):0{tail}}" for _ in range(2))
    else:
        a, b = str(draw_number(rng, 8)), str(draw_number(rng, 8))
    a, b = strip_zeros(a), strip_zeros(b)
    return (a, b) if float(a) != float(b) else draw_comparable(rng)


def strip_zeros(text: str) -> str:
    """Without zeros in front, but never without a digit before the point."""
    stripped = text.lstrip("0")
    return stripped if stripped[:1].isdigit() else "0" + stripped


def compare_digits(a: str, b: str) -> str:
    """Digit by digit from the left until they differ: `4=4, 8>7`."""
    steps = []
    for x, y in zip(a, b, strict=True):
        sign = "=" if x == y else ">" if x > y else "<"
        steps.append(f"{x}{sign}{y}")
        if x != y:
            break
    return ", ".join(steps)


def compare_reasoning(a: str, b: str) -> str:
    """Why one of two numbers is the larger one: by length, else by the first differing digit."""
    (whole_a, _, part_a), (whole_b, _, part_b) = a.partition("."), b.partition(".")
    if len(whole_a) != len(whole_b):
        x, y = len(whole_a), len(whole_b)
        return f"{x} and {y} digits in front: {x}{'>' if x > y else '<'}{y}."
    if "." not in a + b:
        return f"{len(a)} digits each: {compare_digits(a, b)}."
    width = max(len(part_a), len(part_b))
    full_a, full_b = (f"{whole}.{part:0<{width}}" for whole, part in ((whole_a, part_a), (whole_b, part_b)))
    steps = compare_digits(full_a.replace(".", ""), full_b.replace(".", ""))
    return f"{full_a} and {full_b}: {steps}."


def key_of(kind: str, items: Sequence[object]) -> str:
    """A key in which the order of the items does not count."""
    return f"{kind}:" + ",".join(sorted(map(str, items)))


@task("compare")
def make_compare(rng: Random) -> Problem:
    a, b = draw_comparable(rng)
    larger, smaller = (a, b) if float(a) > float(b) else (b, a)
    forms, answer = (FORMS["larger"], larger) if rng.random() < 0.5 else (FORMS["smaller"], smaller)
    return Problem("compare", key_of("compare", (a, b)), phrase(rng, forms, a=a, b=b), compare_reasoning(a, b), answer)


@task("is it larger")
def make_is_larger(rng: Random) -> Problem:
    a, b = draw_comparable(rng)
    want_larger = rng.random() < 0.6
    answer = "yes" if (float(a) > float(b)) == want_larger else "no"
    question = phrase(rng, FORMS["is_larger"] if want_larger else FORMS["is_smaller"], a=a, b=b)
    return Problem("is it larger", key_of("compare", (a, b)), question, compare_reasoning(a, b), answer)


@task("largest and smallest")
def make_extreme(rng: Random) -> Problem:
    numbers = draw_numbers(rng, 3, 8)
    forms, choose, name = (
        (FORMS["largest"], max, "Largest") if rng.random() < 0.5 else (FORMS["smallest"], min, "Smallest")
    )
    running = [choose(numbers[: i + 1]) for i in range(len(numbers))]
    reasoning = f"{name} so far: {', '.join(map(str, running))}."
    return Problem(
        "largest and smallest",
        key_of("list", numbers),
        phrase(rng, forms, e=list_text(rng, numbers)),
        reasoning,
        str(running[-1]),
    )


def selection_steps(items: Sequence[str], ordered: Sequence[str]) -> str:
    """Selection sort, what is taken and what is left: `3, left 45 12; 12, left 45; 45`."""
    left, steps = list(items), []
    for item in ordered:
        left.remove(item)
        steps.append(f"{item}, left {' '.join(left)}" if left else item)
    return "; ".join(steps)


@task("sort numbers", 1.4)
def make_sort_numbers(rng: Random) -> Problem:
    numbers = draw_numbers(rng, 2, 7)
    descending = rng.random() < 0.35
    items, ordered = [str(n) for n in numbers], [str(n) for n in sorted(numbers, reverse=descending)]
    question = phrase(rng, FORMS["descending"] if descending else FORMS["ascending"], e=list_text(rng, numbers))
    reasoning = f"{'Largest' if descending else 'Smallest'} first: {selection_steps(items, ordered)}."
    return Problem("sort numbers", key_of("list", numbers), question, reasoning, ", ".join(ordered))


@task("sort words", 1.2)
def make_sort_words(rng: Random) -> Problem:
    words = draw_words(rng, rng.randint(2, 5))
    ordered = sorted(words)
    question = phrase(rng, FORMS["alphabetical"], e=list_text(rng, words))
    reasoning = f"First in the alphabet: {selection_steps(words, ordered)}."
    return Problem("sort words", key_of("list", words), question, reasoning, ", ".join(ordered))


@task("reverse a list", 0.7)
def make_reverse_list(rng: Random) -> Problem:
    items = draw_words(rng, rng.randint(2, 5)) if rng.random() < 0.5 else [str(n) for n in draw_numbers(rng, 3, 7)]
    question = phrase(rng, FORMS["backwards"], e=list_text(rng, items))
    reasoning = f"{len(items)} items, the last is {items[-1]}."
    return Problem("reverse a list", key_of("list", items), question, reasoning, ", ".join(reversed(items)))
