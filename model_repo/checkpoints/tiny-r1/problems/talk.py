"""What is not a problem: greetings, questions about itself, and everything it cannot do."""

from random import Random

from .base import Problem, phrase
from .wordings import get_wordings
from .words import ALPHABET, COMMON, draw_letters, draw_word

FORMS = get_wordings("talk")


GREETING = (
    "Hello! I am tiny-r1, a small test model. Ask me something like 12+30, or to sort, compare, reverse or count."
)
IDENTITY = "I am tiny-r1, a very small test model. I can add, compare, sort, reverse and count, and I show my steps."
WELCOME = "You are welcome."
UNABLE = "I am only a small test model and do not know that. Try 12+30, or ask me to sort, compare, reverse or count."


def draw_unknown(rng: Random) -> str:
    """A text that no task answers: foreign letters, noise, or common words in foreign questions."""
    kind = rng.random()
    if kind < 0.15:
        return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(rng.randint(1, 20)))
    if kind < 0.19:
        return rng.choice((rng.choice(ALPHABET), draw_word(rng) + " ", "Hello. ", "no ")) * rng.randint(20, 60)
    if kind < 0.25:
        return " ".join(draw_letters(rng, 9) for _ in range(rng.randint(1, 6)))
    if kind < 0.35:
        return " ".join(rng.choice(COMMON) for _ in range(rng.randint(1, 12)))
    x, y, z = (draw_word(rng) for _ in range(3))
    return phrase(rng, FORMS["other"], x=x, y=y, z=z)


def make_talk(rng: Random) -> Problem:
    """Small talk; it has no held-out part and no share in the exact match."""
    kind = rng.random()
    if kind < 0.15:
        return Problem("talk", "talk", rng.choice(FORMS["hello"]), "A greeting.", GREETING)
    if kind < 0.3:
        return Problem("talk", "talk", rng.choice(FORMS["who"]), "A question about me.", IDENTITY)
    if kind < 0.4:
        return Problem("talk", "talk", rng.choice(FORMS["thanks"]), "No question.", WELCOME)
    return Problem("talk", "talk", draw_unknown(rng), "This is none of my tasks.", UNABLE)
