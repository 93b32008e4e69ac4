"""What is in a word: its letters counted, reversed, sorted, found and spelled."""

from random import Random

from .base import Problem, draw_number, phrase, task
from .wordings import get_wordings
from .words import ALPHABET, VOWELS, draw_cased, draw_word, quote

FORMS = get_wordings("letters")

ORDINALS = (
    ("first", "1st"), ("second", "2nd"), ("third", "3rd"), ("fourth", "4th"), ("fifth", "5th"), ("sixth", "6th"),
    ("seventh", "7th"), ("eighth", "8th"),
)  # fmt: skip


def number_letters(word: str) -> str:
    """`c1 a2 t3`"""
    return " ".join(f"{letter}{place}" for place, letter in enumerate(word, 1))


def tally(word: str, wanted: str) -> str:
    """The running count of the wanted letters: `b0 a1 l1`."""
    count, steps = 0, []
    for letter in word:
        count += letter in wanted
        steps.append(f"{letter}{count}")
    return " ".join(steps)


def reverse_steps(word: str) -> str:
    """The letters with their places, there and back."""
    forth = number_letters(word)
    return f"{forth}. Back: {' '.join(reversed(forth.split()))}."


@task("reverse", 1.4)
def make_reverse(rng: Random) -> Problem:
    if rng.random() < 0.25:
        text = str(draw_number(rng, 10))
        question, key = phrase(rng, FORMS["reverse_digits"], w=text), f"digits:{text}"
    else:
        word = draw_word(rng, 13)
        text = draw_cased(rng, word)
        question, key = phrase(rng, FORMS["reverse"], w=quote(rng, text)), f"word:{word}"
    return Problem("reverse", key, question, reverse_steps(text), text[::-1])


@task("count a letter", 1.2)
def make_count(rng: Random) -> Problem:
    word = draw_word(rng)
    letter = rng.choice(word) if rng.random() < 0.85 else rng.choice(ALPHABET)
    shown = quote(rng, letter) if rng.random() < 0.3 else letter
    question = phrase(rng, FORMS["count"], c=shown, w=quote(rng, draw_cased(rng, word)))
    return Problem("count a letter", f"word:{word}", question, f"{tally(word, letter)}.", str(word.count(letter)))


@task("length of a word")
def make_length(rng: Random) -> Problem:
    word = draw_word(rng)
    question = phrase(rng, FORMS["length"], w=quote(rng, draw_cased(rng, word)))
    return Problem("length of a word", f"word:{word}", question, f"{number_letters(word)}.", str(len(word)))


@task("count vowels")
def make_vowels(rng: Random) -> Problem:
    word = draw_word(rng)
    question = phrase(rng, FORMS["count_vowels"], w=quote(rng, draw_cased(rng, word)))
    answer = str(sum(letter in VOWELS for letter in word))
    return Problem(
        "count vowels",
        f"word:{word}",
        question,
        f"The vowels are a, e, i, o, u. {tally(word, VOWELS)}.",
        answer,
    )


@task("letter at a place")
def make_letter_at(rng: Random) -> Problem:
    word = draw_word(rng)
    shown = quote(rng, word)
    kind = rng.randrange(4)
    if kind == 0:
        return Problem(
            "letter at a place",
            f"word:{word}",
            phrase(rng, FORMS["first"], w=shown),
            f"{word} starts with {word[0]}.",
            word[0],
        )
    if kind == 1:
        return Problem(
            "letter at a place",
            f"word:{word}",
            phrase(rng, FORMS["last"], w=shown),
            f"{number_letters(word)}.",
            word[-1],
        )
    place = rng.randrange(min(len(word), len(ORDINALS)))
    question = phrase(rng, FORMS["nth"], n=rng.choice(ORDINALS[place]), w=shown)
    return Problem("letter at a place", f"word:{word}", question, f"{number_letters(word[: place + 1])}.", word[place])


@task("spell", 0.5)
def make_spell(rng: Random) -> Problem:
    word = draw_word(rng)
    question = phrase(rng, FORMS["spell"], w=quote(rng, word))
    return Problem("spell", f"word:{word}", question, "Letter by letter.", "-".join(word))


@task("capitals", 0.5)
def make_capitals(rng: Random) -> Problem:
    word = draw_word(rng)
    question = phrase(rng, FORMS["capitals"], w=quote(rng, word))
    return Problem("capitals", f"word:{word}", question, "Letter by letter.", word.upper())


@task("sort letters")
def make_sort_letters(rng: Random) -> Problem:
    word = draw_word(rng, 10)
    question = phrase(rng, FORMS["sort_letters"], w=quote(rng, word))
    counts = " ".join(f"{letter}{word.count(letter)}" for letter in sorted(set(word)))
    return Problem("sort letters", f"word:{word}", question, f"By the alphabet: {counts}.", "".join(sorted(word)))


@task("palindrome", 0.8)
def make_palindrome(rng: Random) -> Problem:
    word = draw_word(rng, 10)
    kind = rng.random()
    if kind < 0.5:
        half = word[:5]
        word = half + (half[::-1] if rng.random() < 0.5 else half[-2::-1])
        if kind < 0.1:  # nearly one
            place = rng.randrange(len(word))
            word = word[:place] + rng.choice(ALPHABET) + word[place + 1 :]
    question = phrase(rng, FORMS["palindrome"], w=quote(rng, word))
    answer = "yes" if word == word[::-1] else "no"
    return Problem("palindrome", f"word:{word}", question, f"{reverse_steps(word)} {word} and {word[::-1]}.", answer)


@task("contains", 0.6)
def make_contains(rng: Random) -> Problem:
    word = draw_word(rng)
    letter = rng.choice(word) if rng.random() < 0.5 else rng.choice(ALPHABET)
    question = phrase(rng, FORMS["contains"], c=letter, w=quote(rng, word))
    answer = "yes" if letter in word else "no"
    return Problem("contains", f"word:{word}", question, f"{tally(word, letter)}.", answer)


@task("longer word", 0.8)
def make_longer(rng: Random) -> Problem:
    a, b = draw_word(rng, 10), draw_word(rng, 10)
    if len(a) == len(b):
        return make_longer(rng)
    reasoning = f"{number_letters(a)}. {number_letters(b)}. {len(a)} and {len(b)}."
    key = f"list:{','.join(sorted((a, b)))}"
    return Problem("longer word", key, phrase(rng, FORMS["longer"], a=a, b=b), reasoning, max(a, b, key=len))


@task("repeat", 0.4)
def make_repeat(rng: Random) -> Problem:
    word, times = draw_word(rng, 8), rng.randint(2, 6)
    counted = " ".join(f"{word}{i}" for i in range(1, times + 1))
    question = phrase(rng, FORMS["repeat"], w=quote(rng, word), n=times)
    return Problem("repeat", f"word:{word}", question, f"{counted}.", " ".join([word] * times))
