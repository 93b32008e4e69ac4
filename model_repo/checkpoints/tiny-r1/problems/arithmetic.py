"""Sums, differences, products, quotients and what hides in the digits of a number."""

from random import Random

from .base import Problem, draw_number, phrase, task
from .wordings import get_wordings

FORMS = get_wordings("arithmetic")
DOUBLE, HALF = get_wordings("double"), get_wordings("half")


def add_steps(a: int, b: int) -> str:
    """Column addition from the right: `7+5=12, 2+1+1=4`."""
    width = max(len(str(a)), len(str(b)))
    steps, carry = [], 0
    for x, y in zip(reversed(f"{a:0{width}}"), reversed(f"{b:0{width}}"), strict=True):
        total = int(x) + int(y) + carry
        steps.append(f"{x}+{y}{'+1' if carry else ''}={total}")
        carry = total // 10
    return ", ".join(steps)


def subtract_steps(a: int, b: int) -> str:
    """Column subtraction from the right for a >= b, a borrowed ten in front of the digit: `13-7=6, 5-2-1=2`."""
    steps, borrow = [], 0
    for x, y in zip(reversed(str(a)), reversed(f"{b:0{len(str(a))}}"), strict=True):
        rest = int(x) - int(y) - borrow
        lent = "1" if rest < 0 else ""
        steps.append(f"{lent}{x}-{y}{'-1' if borrow else ''}={rest % 10}")
        borrow = int(rest < 0)
    return ", ".join(steps)


def multiply_steps(a: int, digit: int) -> str:
    """Column multiplication by one digit from the right: `7*6=42, 2*6+4=16`."""
    steps, carry = [], 0
    for x in reversed(str(a)):
        total = int(x) * digit + carry
        steps.append(f"{x}*{digit}{f'+{carry}' if carry else ''}={total}")
        carry = total // 10
    return ", ".join(steps)


def divide_steps(a: int, divisor: int) -> str:
    """Long division from the left: `8=1*7+1, 14=2*7+0`."""
    steps, rest = [], 0
    for x in str(a):
        part = 10 * rest + int(x)
        rest = part % divisor
        steps.append(f"{part}={part // divisor}*{divisor}+{rest}")
    return ", ".join(steps)


def solve_add(a: int, b: int) -> tuple[str, str, str]:
    """Key, reasoning and answer of a+b."""
    low, high = sorted((a, b))
    return f"add:{low}+{high}", f"From the right: {add_steps(a, b)}.", str(a + b)


def solve_subtract(a: int, b: int) -> tuple[str, str, str]:
    """Key, reasoning and answer of a-b, which may be negative."""
    if a >= b:
        return f"sub:{a}-{b}", f"From the right: {subtract_steps(a, b)}.", str(a - b)
    return f"sub:{a}-{b}", f"{b} is larger, so minus. From the right: {subtract_steps(b, a)}.", str(a - b)


def solve_multiply(a: int, b: int) -> tuple[str, str, str]:
    """Key, reasoning and answer of a*b, where one of them has one digit or b has two."""
    low, high = sorted((a, b))
    key = f"mul:{low}*{high}"
    if low < 10:
        return key, f"From the right: {multiply_steps(high, low)}.", str(a * b)
    tens, units = b // 10 * 10, b % 10
    parts = f"{a}*{units}={a * units}, {a}*{tens}={a * tens}, {a * units}+{a * tens}={a * b}"
    return key, f"In parts: {parts}.", str(a * b)


def draw_pair(rng: Random, digits: int) -> tuple[int, int]:
    """Two numbers, often of like length."""
    a = draw_number(rng, digits)
    return a, rng.randrange(10 ** len(str(a))) if rng.random() < 0.5 else draw_number(rng, digits)


def draw_subtraction(rng: Random, digits: int) -> tuple[int, int]:
    """Two numbers, mostly the larger one first."""
    low, high = sorted(draw_pair(rng, digits))
    return (low, high) if rng.random() < 0.15 else (high, low)


def draw_product(rng: Random) -> tuple[int, int]:
    """One digit times up to six, or two or three digits times two."""
    kind = rng.random()
    if kind < 0.4:
        return rng.randrange(10, 1000 if kind < 0.08 else 100), rng.randrange(10, 100)
    pair = [draw_number(rng, 6), rng.randrange(10)]
    rng.shuffle(pair)
    return pair[0], pair[1]


def space(rng: Random) -> str:
    """What stands around an operator."""
    return "  " if rng.random() < 0.02 else rng.choice(("", "", " "))


@task("add", 1.6)
def make_add(rng: Random) -> Problem:
    a, b = draw_pair(rng, 9)
    key, reasoning, answer = solve_add(a, b)
    return Problem("add", key, phrase(rng, FORMS["add"], a=a, b=b, s=space(rng)), reasoning, answer)


@task("subtract", 1.6)
def make_subtract(rng: Random) -> Problem:
    a, b = draw_subtraction(rng, 9)
    key, reasoning, answer = solve_subtract(a, b)
    return Problem(
        "subtract",
        key,
        phrase(rng, FORMS["subtract"][: 11 if a < b else None], a=a, b=b, s=space(rng)),
        reasoning,
        answer,
    )


@task("multiply", 1.6)
def make_multiply(rng: Random) -> Problem:
    a, b = draw_product(rng)
    if a < 100 and rng.random() < 0.04:
        b = a
    key, reasoning, answer = solve_multiply(a, b)
    forms = DOUBLE.get(str(b), FORMS["multiply"]) if rng.random() < 0.3 else FORMS["multiply"]
    question = phrase(rng, FORMS["square"] if a == b else forms, a=a, b=b, s=space(rng))
    return Problem("multiply", key, question, reasoning, answer)


@task("divide")
def make_divide(rng: Random) -> Problem:
    b = rng.randrange(2, 10)
    a = draw_number(rng, 4)
    if rng.random() < 0.6:
        a -= a % b
    answer = str(a // b) + (f" remainder {a % b}" if a % b else "")
    forms = HALF.get(str(b), FORMS["divide"]) if a % b == 0 and rng.random() < 0.3 else FORMS["divide"]
    question = phrase(rng, forms, a=a, b=b, s=space(rng))
    return Problem("divide", f"div:{a}/{b}", question, f"From the left: {divide_steps(a, b)}.", answer)


@task("remainder")
def make_remainder(rng: Random) -> Problem:
    a, b = draw_number(rng, 5), rng.randrange(2, 10)
    question = phrase(rng, FORMS["remainder"], a=a, b=b)
    return Problem("remainder", f"div:{a}/{b}", question, f"From the left: {divide_steps(a, b)}.", str(a % b))


@task("divisible", 0.6)
def make_divisible(rng: Random) -> Problem:
    a, b = draw_number(rng, 4), rng.randrange(2, 10)
    if rng.random() < 0.4:
        a -= a % b
    question = phrase(rng, FORMS["divisible"], a=a, b=b)
    reasoning = f"From the left: {divide_steps(a, b)}."
    return Problem("divisible", f"div:{a}/{b}", question, reasoning, "no" if a % b else "yes")


@task("even or odd", 0.4)
def make_parity(rng: Random) -> Problem:
    a = draw_number(rng, 8)
    answer = "odd" if a % 2 else "even"
    reasoning = f"The last digit is {a % 10}, which is {answer}."
    return Problem("even or odd", f"digits:{a}", phrase(rng, FORMS["parity"], a=a), reasoning, answer)


@task("digit sum", 0.7)
def make_digit_sum(rng: Random) -> Problem:
    a = draw_number(rng, 8)
    total, steps = 0, []
    for x in str(a):
        steps.append(f"{total}+{x}={total + int(x)}")
        total += int(x)
    return Problem("digit sum", f"digits:{a}", phrase(rng, FORMS["digit_sum"], a=a), f"{', '.join(steps)}.", str(total))


@task("sum of many", 1.4)
def make_sum_many(rng: Random) -> Problem:
    total = draw_number(rng, 3)
    s, steps = space(rng), []
    expression = str(total)
    for _ in range(rng.randint(2, 4)):
        x = draw_number(rng, 3)
        sign = "-" if x <= total and rng.random() < 0.3 else "+"
        result = total + x if sign == "+" else total - x
        steps.append(f"{total}{sign}{x}={result}")
        expression += f"{s}{sign}{s}{x}"
        total = result
    question = phrase(rng, FORMS["sum_many"], e=expression)
    return Problem(
        "sum of many",
        f"many:{expression.replace(' ', '')}",
        question,
        f"Step by step: {', '.join(steps)}.",
        str(total),
    )


@task("product first", 0.7)
def make_product_first(rng: Random) -> Problem:
    a, b, c = draw_number(rng, 2), draw_number(rng, 2), rng.randrange(10)
    product = b * c
    sign = "-" if product <= a and rng.random() < 0.5 else "+"
    result = a - product if sign == "-" else a + product
    s = space(rng)
    expression, step = f"{a}{s}{sign}{s}{b}{s}*{s}{c}", f"{a}{sign}{product}={result}"
    if sign == "+" and rng.random() < 0.4:
        expression, step = f"{b}{s}*{s}{c}{s}+{s}{a}", f"{product}+{a}={result}"
    key = f"mixed:{a}{sign}{b}*{c}"
    return Problem(
        "product first",
        key,
        phrase(rng, FORMS["sum_many"], e=expression),
        f"The product first: {b}*{c}={product}, {step}.",
        str(result),
    )


@task("sequence", 0.8)
def make_sequence(rng: Random) -> Problem:
    start, step = draw_number(rng, 3), rng.randrange(1, 30)
    terms = [start + step * i for i in range(rng.randint(3, 5))]
    if rng.random() < 0.3:
        terms.reverse()
        step = -step
    before, last, rule = terms[-2], terms[-1], f"{step:+d}"
    if last + step < 0:
        return make_sequence(rng)
    question = phrase(rng, FORMS["sequence"], e=", ".join(map(str, terms)))
    reasoning = f"{last}-{before}={step}. {last}{rule}={last + step}."
    return Problem("sequence", f"seq:{terms[0]}{rule}", question, reasoning, str(last + step))
