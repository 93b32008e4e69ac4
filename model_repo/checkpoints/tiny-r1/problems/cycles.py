"""What comes after and before: letters, days, months and numbers."""

from random import Random

from .base import Problem, phrase, task
from .wordings import get_wordings
from .words import ALPHABET

FORMS = get_wordings("cycles")
NEXT, LATER, BEFORE, EARLIER = (get_wordings(name) for name in ("next", "later", "before", "earlier"))

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
    forms = FORMS["up"] if direction > 0 else FORMS["down"]
    question = phrase(rng, (*forms, "Count to {b}.") if first == direction == 1 else forms, a=first, b=numbers[-1])
    answer = ", ".join(map(str, numbers))
    return Problem(
        "count up and down", f"counting:{first}:{numbers[-1]}", question, f"From {first} to {numbers[-1]}.", answer
    )


@task("next and before", 1.2)
def make_walk(rng: Random) -> Problem:
    kind, walk, direction = draw_walk(rng)
    steps = len(walk) - 1
    one, many = (NEXT, LATER) if direction > 0 else (BEFORE, EARLIER)
    question = phrase(rng, (one if steps == 1 else many)[kind], x=walk[0], n=steps)
    counted = ", ".join(f"{item} {place}" for place, item in enumerate(walk))
    return Problem("next and before", f"walk:{walk[0]}{direction * steps:+d}", question, f"{counted}.", walk[-1])
