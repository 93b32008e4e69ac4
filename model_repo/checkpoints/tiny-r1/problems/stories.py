"""Small word problems: the same sums as arithmetic, told with people and things."""

from random import Random

from .arithmetic import draw_pair, draw_subtraction, solve_add, solve_multiply, solve_subtract
from .base import Problem, draw_number, phrase, task
from .wordings import get_wordings

FORMS = get_wordings("stories")


@task("story", 1.2)
def make_story(rng: Random) -> Problem:
    name, other = rng.sample(FORMS["names"], 2)
    values = {"n": name, "m": other, "t": rng.choice(FORMS["things"])}
    kind = rng.randrange(3)
    if kind == 0:
        a, b = draw_pair(rng, 3)
        forms, sign, (key, reasoning, answer) = FORMS["more"], "+", solve_add(a, b)
    elif kind == 1:
        b, a = sorted(draw_subtraction(rng, 3))
        forms, sign, (key, reasoning, answer) = FORMS["less"], "-", solve_subtract(a, b)
    else:
        a, b = rng.randrange(2, 10), draw_number(rng, 3)
        forms, sign, (key, reasoning, answer) = FORMS["times"], "*", solve_multiply(a, b)
    return Problem("story", key, phrase(rng, forms, a=a, b=b, **values), f"That is {a}{sign}{b}. {reasoning}", answer)
