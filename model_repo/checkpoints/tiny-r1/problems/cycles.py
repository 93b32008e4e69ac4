"""What comes after and before: letters, days, months and numbers."""

from random import Random

from .base import Problem, phrase, task
from .words import ALPHABET

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
NEXT = {
    "letter": ("Which letter comes after {x}?", "What letter comes after {x}?", "Next letter after {x}?", "What comes after {x} in the alphabet?"),
    "day": ("What day comes after {x}?", "Which day comes after {x}?", "Today is {x}. What day is tomorrow?", "Next day after {x}?"),
    "month": ("What month comes after {x}?", "Which month comes after {x}?", "Next month after {x}?", "What is the month after {x}?"),
}  # fmt: skip
BEFORE = {
    "letter": (
        "Which letter comes before {x}?",
        "What letter comes before {x}?",
        "What comes before {x} in the alphabet?",
    ),
    "day": (
        "What day comes before {x}?",
        "Which day comes before {x}?",
        "Today is {x}. What day was yesterday?",
    ),
    "month": (
        "What month comes before {x}?",
        "Which month comes before {x}?",
        "What is the month before {x}?",
    ),
}
UP = ("Count from {a} to {b}.", "Count from {a} to {b}", "List the numbers from {a} to {b}.", "Numbers from {a} to {b}?")
DOWN = ("Count down from {a} to {b}.", "Count backwards from {a} to {b}.", "Count from {a} down to {b}")
LATER = {
    "letter": (
        "Which letter is {n} places after {x}?",
        "What letter comes {n} after {x}?",
        "Which letter is {n} letters after {x}?",
    ),
    "day": (
        "What day is {n} days after {x}?",
        "Today is {x}. What day is it in {n} days?",
        "Which day is {n} days after {x}?",
    ),
    "month": (
        "What month is {n} months after {x}?",
        "Which month is {n} months after {x}?",
        "It is {x}. What month is it in {n} months?",
    ),
}
EARLIER = {
    "letter": ("Which letter is {n} places before {x}?", "What letter comes {n} before {x}?"),
    "day": ("What day is {n} days before {x}?", "Today is {x}. What day was it {n} days ago?"),
    "month": ("What month is {n} months before {x}?", "It is {x}. What month was it {n} months ago?"),
}


def draw_walk(rng: Random) -> tuple[str, list[str], int]:
    """A kind, the items walked over (the first is where one starts), and the direction."""
    kind = rng.choice(("letter", "letter", "day", "month"))
    items = {"letter": tuple(ALPHABET), "day": DAYS, "month": MONTHS}[kind]
    steps, direction = rng.choice((1, 1, rng.randint(2, 9))), rng.choice((1, -1))
    start = rng.randrange(len(items))
    if kind == "letter" and not 0 <= start + direction * steps < len(items):
        return draw_walk(rng)
    return kind, [items[(start + direction * i) % len(items)] for i in range(steps + 1)], direction


@task("count up and down", 0.5)
def make_counting(rng: Random) -> Problem:
    first, length, direction = rng.choice((1, 1, rng.randrange(100))), rng.randint(2, 15), rng.choice((1, 1, -1))
    numbers = [first + direction * i for i in range(length)]
    if numbers[-1] < 0:
        return make_counting(rng)
    forms = UP if direction > 0 else DOWN
    question = phrase(rng, (*forms, "Count to {b}.") if first == direction == 1 else forms, a=first, b=numbers[-1])
    answer = ", ".join(map(str, numbers))
    return Problem("count up and down", f"counting:{first}:{numbers[-1]}", question, f"From {first} to {numbers[-1]}.", answer)


@task("next and before", 1.2)
def make_walk(rng: Random) -> Problem:
    kind, walk, direction = draw_walk(rng)
    steps = len(walk) - 1
    one, many = (NEXT, LATER) if direction > 0 else (BEFORE, EARLIER)
    question = phrase(rng, (one if steps == 1 else many)[kind], x=walk[0], n=steps)
    counted = ", ".join(f"{item} {place}" for place, item in enumerate(walk))
    return Problem(
        "next and before", f"walk:{walk[0]}{direction * steps:+d}", question, f"{counted}.", walk[-1]
    )
