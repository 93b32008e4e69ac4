"""Small word problems: the same sums as arithmetic, told with people and things."""

from random import Random

from .arithmetic import draw_pair, draw_subtraction, solve_add, solve_multiply, solve_subtract
from .base import Problem, draw_number, phrase, task

NAMES = ("Anna", "Ben", "Chen", "Dana", "Eva", "Finn", "Grace", "Hugo", "Ines", "Jack", "Kim", "Li", "Mia", "Noah", "Olga", "Paul",
         "Rosa", "Sam", "Tom", "Uma", "Wei", "Zoe")  # fmt: skip
THINGS = ("apples", "books", "cards", "coins", "cookies", "eggs", "flowers", "marbles", "oranges", "pencils", "servers", "shells",
          "stamps", "stickers", "tickets", "toys")  # fmt: skip
MORE = (
    "{n} has {a} {t} and buys {b} more. How many {t} does {n} have now?", "{n} has {a} {t} and gets {b} more. How many in total?",
    "There are {a} {t} in one box and {b} in another. How many {t} are there?", "{n} has {a} {t}, {m} has {b}. How many together?",
)  # fmt: skip
LESS = (
    "{n} has {a} {t} and gives {b} to {m}. How many {t} are left?", "{n} had {a} {t} and lost {b}. How many {t} are left?",
    "There are {a} {t}. {n} takes {b} of them. How many remain?", "{n} has {a} {t} and sells {b}. How many {t} does {n} have now?",
)  # fmt: skip
TIMES = (
    "There are {a} boxes with {b} {t} each. How many {t} are there?", "{n} buys {a} bags of {b} {t}. How many {t} is that?",
    "Each of {a} friends has {b} {t}. How many {t} do they have together?",
)  # fmt: skip


@task("story", 1.2)
def make_story(rng: Random) -> Problem:
    name, other = rng.sample(NAMES, 2)
    values = {"n": name, "m": other, "t": rng.choice(THINGS)}
    kind = rng.randrange(3)
    if kind == 0:
        a, b = draw_pair(rng, 3)
        forms, sign, (key, reasoning, answer) = MORE, "+", solve_add(a, b)
    elif kind == 1:
        b, a = sorted(draw_subtraction(rng, 3))
        forms, sign, (key, reasoning, answer) = LESS, "-", solve_subtract(a, b)
    else:
        a, b = rng.randrange(2, 10), draw_number(rng, 3)
        forms, sign, (key, reasoning, answer) = TIMES, "*", solve_multiply(a, b)
    return Problem(
        "story", key, phrase(rng, forms, a=a, b=b, **values), f"That is {a}{sign}{b}. {reasoning}", answer
    )
