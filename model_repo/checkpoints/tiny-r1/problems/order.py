"""Comparing, the largest and smallest of a list, sorting numbers and words, reversing a list."""

from collections.abc import Sequence
from random import Random

from .base import Problem, draw_number, draw_numbers, list_text, phrase, task
from .words import draw_words

LARGER = (
    "Which is larger, {a} or {b}?", "Which is larger: {a} or {b}?", "larger of {a} and {b}?", "What is the larger of {a} and {b}?",
    "Which number is bigger, {a} or {b}?", "Which is greater, {a} or {b}?", "Compare {a} and {b}: which is larger?", "Bigger: {a} or {b}?",
    "What is bigger, {a} or {b}?", "Which is bigger {a} or {b}?", "Which is larger {a} or {b}?",
)  # fmt: skip
SMALLER = (
    "Which is smaller, {a} or {b}?", "Which is smaller: {a} or {b}?", "smaller of {a} and {b}?", "What is the smaller of {a} and {b}?",
    "Which number is smaller, {a} or {b}?", "Which is less, {a} or {b}?", "Compare {a} and {b}: which is smaller?", "Smaller: {a} or {b}?",
)  # fmt: skip
IS_LARGER = (
    "Is {a} larger than {b}?", "Is {a} greater than {b}?", "Is {a} bigger than {b}?", "Is {a} more than {b}?", "Is {a} > {b}?", "{a} > {b}?",
)  # fmt: skip
IS_SMALLER = ("Is {a} smaller than {b}?", "Is {a} less than {b}?", "Is {a} < {b}?", "{a} < {b}?")
LARGEST = (
    "What is the largest of {e}?", "Which is the largest: {e}?", "What is the maximum of {e}?", "max of {e}", "Largest number in {e}?",
    "Find the biggest of {e}", "What is the biggest number in {e}?", "max({e})",
)  # fmt: skip
SMALLEST = (
    "What is the smallest of {e}?", "Which is the smallest: {e}?", "What is the minimum of {e}?", "min of {e}", "Smallest number in {e}?",
    "Find the smallest of {e}", "What is the lowest number in {e}?", "min({e})",
)  # fmt: skip
ASCENDING = (
    "Sort {e}.", "Sort {e}", "Sort {e} in ascending order.", "Sort these numbers: {e}", "Sort from smallest to largest: {e}",
    "Put {e} in order.", "Order {e} from low to high.", "Arrange {e} in increasing order.", "Can you sort {e}?",
    "Sort in ascending order: {e}", "Sort the list {e}", "Sort the numbers {e}", "Sort: {e}", "Sort the numbers {e} in ascending order.",
)  # fmt: skip
DESCENDING = (
    "Sort {e} in descending order.", "Sort {e} descending", "Sort from largest to smallest: {e}", "Order {e} from high to low.",
    "Arrange {e} in decreasing order.", "Sort {e} backwards, the largest first.",
    "Sort in descending order: {e}", "Sort the numbers {e} in descending order.", "Sort the list {e} in descending order", "Sort {e} desc",
)  # fmt: skip
ALPHABETICAL = (
    "Sort these words: {e}", "Sort alphabetically: {e}", "Put {e} in alphabetical order.", "Sort the words {e}", "Alphabetize {e}",
    "Arrange {e} in alphabetical order.", "Sort {e}", "Sort {e}.", "Sort: {e}", "Sort the list {e}", "Can you sort {e}?",
    "Sort {e} alphabetically", "Put {e} in order.",
)  # fmt: skip
BACKWARDS = (
    "Reverse the list {e}.", "Reverse the list: {e}", "Reverse the order of {e}", "List {e} in reverse order.", "Write the list {e} backwards.",
)  # fmt: skip


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
    a, b = (text.lstrip("0") if text.lstrip("0")[:1].isdigit() else text for text in (a, b))
    return (a, b) if float(a) != float(b) else draw_comparable(rng)


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
        return f"{len(whole_a)} and {len(whole_b)} digits in front: {len(whole_a)}{'>' if len(whole_a) > len(whole_b) else '<'}{len(whole_b)}."
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
    forms, answer = (LARGER, larger) if rng.random() < 0.5 else (SMALLER, smaller)
    return Problem(
        "compare", key_of("compare", (a, b)), phrase(rng, forms, a=a, b=b), compare_reasoning(a, b), answer
    )


@task("is it larger")
def make_is_larger(rng: Random) -> Problem:
    a, b = draw_comparable(rng)
    want_larger = rng.random() < 0.6
    answer = "yes" if (float(a) > float(b)) == want_larger else "no"
    question = phrase(rng, IS_LARGER if want_larger else IS_SMALLER, a=a, b=b)
    return Problem("is it larger", key_of("compare", (a, b)), question, compare_reasoning(a, b), answer)


@task("largest and smallest")
def make_extreme(rng: Random) -> Problem:
    numbers = draw_numbers(rng, 3, 8)
    forms, choose, name = (LARGEST, max, "Largest") if rng.random() < 0.5 else (SMALLEST, min, "Smallest")
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
    question = phrase(rng, DESCENDING if descending else ASCENDING, e=list_text(rng, numbers))
    reasoning = f"{'Largest' if descending else 'Smallest'} first: {selection_steps(items, ordered)}."
    return Problem("sort numbers", key_of("list", numbers), question, reasoning, ", ".join(ordered))


@task("sort words", 1.2)
def make_sort_words(rng: Random) -> Problem:
    words = draw_words(rng, rng.randint(2, 5))
    ordered = sorted(words)
    question = phrase(rng, ALPHABETICAL, e=list_text(rng, words))
    reasoning = f"First in the alphabet: {selection_steps(words, ordered)}."
    return Problem("sort words", key_of("list", words), question, reasoning, ", ".join(ordered))


@task("reverse a list", 0.7)
def make_reverse_list(rng: Random) -> Problem:
    items = (
        draw_words(rng, rng.randint(2, 5))
        if rng.random() < 0.5
        else [str(n) for n in draw_numbers(rng, 3, 7)]
    )
    question = phrase(rng, BACKWARDS, e=list_text(rng, items))
    reasoning = f"{len(items)} items, the last is {items[-1]}."
    return Problem("reverse a list", key_of("list", items), question, reasoning, ", ".join(reversed(items)))
