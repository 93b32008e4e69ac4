"""What a problem is, the register of tasks, and the draws that many tasks share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

Maker = Callable[[Random], "Problem"]


@dataclass(frozen=True)
class Problem:
    """One question with its worked answer.

    key: what is asked, free of wording and of the order of what commutes; the split hashes it
    """

    task: str
    key: str
    question: str
    reasoning: str
    answer: str


@dataclass(frozen=True)
class Task:
    """One kind of problem and its share of the training mixture."""

    make: Maker
    weight: float


TASKS: dict[str, Task] = {}


def task(name: str, weight: float = 1.0) -> Callable[[Maker], Maker]:
    """Register the maker of one kind of problem."""

    def register(make: Maker) -> Maker:
        TASKS[name] = Task(make, weight)
        return make

    return register


def draw_number(rng: Random, digits: int) -> int:
    """A number of 1 to digits digits, short and long ones alike."""
    return rng.randrange(10 ** rng.randint(1, digits))


def draw_numbers(rng: Random, low: int, high: int) -> list[int]:
    """low to high numbers, all below one random power of ten."""
    limit = 10 ** rng.choice((1, 2, 2, 3))
    return [rng.randrange(limit) for _ in range(rng.randint(low, high))]


def phrase(rng: Random, forms: Sequence[str], /, **values: object) -> str:
    """One of the wordings, filled in."""
    return rng.choice(forms).format(**values)


def list_text(rng: Random, items: Sequence[object]) -> str:
    """Items as people type a list: with commas, with spaces, in brackets, or with an 'and'."""
    words = [str(item) for item in items]
    kind = rng.random()
    if kind < 0.5:
        return ", ".join(words)
    if kind < 0.75:
        return " ".join(words)
    if kind < 0.85 or len(words) < 2:
        return ",".join(words)
    if kind < 0.9:
        return f"[{', '.join(words)}]"
    return ", ".join(words[:-1]) + " and " + words[-1]
