"""Where the words of the problems come from: a list of common words, and made-up ones."""

from pathlib import Path
from random import Random

COMMON = tuple((Path(__file__).parent / "words.txt").read_text(encoding="utf-8").split())
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
VOWELS = "aeiou"
STARTS = ("b", "br", "c", "ch", "cl", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "pl", "pr",
          "qu", "r", "s", "sh", "sl", "st", "str", "t", "th", "tr", "v", "w", "y", "z")  # fmt: skip
MIDDLES = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "oo", "ou")
ENDS = (
    "",
    "",
    "b",
    "ck",
    "d",
    "g",
    "l",
    "ll",
    "m",
    "n",
    "nd",
    "ng",
    "nt",
    "p",
    "r",
    "rr",
    "s",
    "ss",
    "st",
    "t",
    "tt",
    "x",
)


def draw_letters(rng: Random, longest: int) -> str:
    """Random letters; few different ones now and then, so that repeats are met."""
    pool = ALPHABET if rng.random() < 0.6 else rng.sample(ALPHABET, rng.randint(2, 5))
    return "".join(rng.choice(pool) for _ in range(rng.randint(2, longest)))


def draw_syllables(rng: Random, longest: int) -> str:
    """A made-up word that can be spoken."""
    count = rng.randint(1, 4)
    return "".join(rng.choice(STARTS) + rng.choice(MIDDLES) + rng.choice(ENDS) for _ in range(count))[:longest]


def draw_word(rng: Random, longest: int = 14) -> str:
    """A word of 2 to longest lower-case letters, common or made up."""
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(COMMON)
    return draw_syllables(rng, longest) if kind < 0.7 else draw_letters(rng, longest)


def draw_words(rng: Random, count: int) -> list[str]:
    """Different words, mostly common ones, for lists."""
    words: list[str] = []
    while len(words) < count:
        word = rng.choice(COMMON) if rng.random() < 0.7 else draw_syllables(rng, 8)
        if word not in words:
            words.append(word)
    return words


def draw_cased(rng: Random, word: str) -> str:
    """The word as people type it: small, seldom with a capital, seldom in capitals."""
    kind = rng.random()
    if kind < 0.85:
        return word
    return word.capitalize() if kind < 0.95 else word.upper()


def quote(rng: Random, word: str) -> str:
    """The word bare or in quotation marks."""
    mark = rng.choice(("", "", "'", '"'))
    return f"{mark}{word}{mark}"
