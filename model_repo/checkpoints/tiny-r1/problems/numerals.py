"""Numbers in another dress and what they are made of: Roman, binary, primes, divisors, averages, the clock."""

from random import Random

from .base import Problem, draw_number, list_text, phrase, task
from .wordings import get_wordings

FORMS = get_wordings("numerals")

ROMAN_DIGITS = (
    ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"), ("X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC"),
    ("C", "CC", "CCC", "CD", "D", "DC", "DCC", "DCCC", "CM"), ("M", "MM", "MMM"),
)  # fmt: skip
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)


@task("roman", 0.7)
def make_roman(rng: Random) -> Problem:
    a = rng.randrange(1, 10 ** rng.randint(1, 3) if rng.random() < 0.7 else 4000)
    places = list(enumerate(reversed(str(a))))
    parts = [(int(x) * 10**i, ROMAN_DIGITS[i][int(x) - 1]) for i, x in reversed(places) if x != "0"]
    reasoning = ", ".join(f"{value}={roman}" for value, roman in parts) + "."
    return Problem(
        "roman", f"digits:{a}", phrase(rng, FORMS["roman"], a=a), reasoning, "".join(roman for _, roman in parts)
    )


@task("to binary", 0.8)
def make_to_binary(rng: Random) -> Problem:
    a = rng.randrange(1, 2 ** rng.randint(2, 10))
    rest, steps = a, []
    while rest:
        steps.append(f"{rest}={rest // 2}*2+{rest % 2}")
        rest //= 2
    reasoning = f"{', '.join(steps)}. Upwards."
    return Problem("to binary", f"binary:{a}", phrase(rng, FORMS["to_binary"], a=a), reasoning, f"{a:b}")


@task("from binary", 0.6)
def make_from_binary(rng: Random) -> Problem:
    a = rng.randrange(1, 2 ** rng.randint(2, 10))
    total, steps = 0, []
    for bit in f"{a:b}":
        steps.append(f"{total}*2+{bit}={total * 2 + int(bit)}")
        total = total * 2 + int(bit)
    question = phrase(rng, FORMS["from_binary"], a=f"{a:b}")
    return Problem("from binary", f"binary:{a}", question, f"{', '.join(steps)}.", str(a))


@task("prime", 0.7)
def make_prime(rng: Random) -> Problem:
    a = rng.randrange(2, rng.choice((100, 500)))
    steps = []
    for p in PRIMES:
        if p * p > a:
            break
        steps.append(f"{a}={a // p}*{p}+{a % p}")
        if a % p == 0:
            break
    answer = "no" if steps and steps[-1].endswith("+0") else "yes"
    reasoning = f"{', '.join(steps)}." if steps else f"{a} is too small to divide."
    return Problem("prime", f"prime:{a}", phrase(rng, FORMS["prime"], a=a), reasoning, answer)


@task("greatest divisor", 0.7)
def make_divisor(rng: Random) -> Problem:
    common = rng.randrange(1, 20)
    a, b = sorted((common * rng.randrange(1, 12), common * rng.randrange(1, 12)), reverse=True)
    key, steps, x, y = f"gcd:{b},{a}", [], a, b
    while y:
        steps.append(f"{x}={x // y}*{y}+{x % y}")
        x, y = y, x % y
    if rng.random() < 0.5:
        a, b = b, a
    return Problem("greatest divisor", key, phrase(rng, FORMS["divisor"], a=a, b=b), f"{', '.join(steps)}.", str(x))


@task("average", 0.7)
def make_average(rng: Random) -> Problem:
    count = rng.randint(2, 5)
    numbers = [draw_number(rng, 2) for _ in range(count)]
    numbers[-1] += -sum(numbers) % count
    steps, total = [], numbers[0]
    for x in numbers[1:]:
        steps.append(f"{total}+{x}={total + x}")
        total += x
    key = "list:" + ",".join(sorted(map(str, numbers)))
    reasoning = f"{', '.join(steps)}. {total}/{count}={total // count}."
    return Problem(
        "average", key, phrase(rng, FORMS["average"], e=list_text(rng, numbers)), reasoning, str(total // count)
    )


@task("clock", 0.7)
def make_clock(rng: Random) -> Problem:
    hour, minute, more = (
        rng.randrange(24),
        rng.choice((rng.randrange(60), rng.randrange(12) * 5)),
        rng.randrange(1, 120),
    )
    total = minute + more
    steps = [f"{minute}+{more}={total}"]
    if total >= 60:
        steps += [f"{total}-{total // 60 * 60}={total % 60}", f"{hour}+{total // 60}={hour + total // 60}"]
    answer = f"{(hour + total // 60) % 24}:{total % 60:02}"
    question = phrase(rng, FORMS["clock"], m=more, t=f"{hour}:{minute:02}")
    return Problem("clock", f"clock:{hour}:{minute}+{more}", question, f"{', '.join(steps)}.", answer)
