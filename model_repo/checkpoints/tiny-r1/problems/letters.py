"""What is in a word: its letters counted, reversed, sorted, found and spelled."""

from random import Random

from .base import Problem, draw_number, phrase, task
from .words import ALPHABET, VOWELS, draw_cased, draw_word, quote

REVERSE = (
    "Reverse {w}.", "Reverse {w}", "Reverse the word {w}.", "reverse {w}?", "Write {w} backwards.", "Spell {w} backwards.",
    "What is {w} spelled backwards?", "What is {w} reversed?", "What is {w} backwards?", "Can you reverse {w}?", "Reverse the string {w}.",
)  # fmt: skip
REVERSE_DIGITS = (
    "Reverse {w}.", "Reverse {w}", "Reverse the digits of {w}.", "Reverse the number {w}.", "Write {w} backwards.", "What is {w} reversed?",
)  # fmt: skip
COUNT = (
    "How many {c} are in {w}?", "How many {c}'s are in {w}?", "How many {c}s are in {w}?", "How many {c}'s are there in {w}?",
    "How many times does {c} appear in {w}?", "Count the letter {c} in {w}.", "Count {c} in {w}", "count {c} in {w}?",
    "How many letters {c} are in {w}?", "How often does the letter {c} occur in {w}?", "How many {c}'s in {w}?",
    "How many {c}'s are in the word {w}?", "Count the {c}'s in {w}.", "Number of {c} in {w}?", "How many {c} does {w} have?",
)  # fmt: skip
LENGTH = (
    "How many letters are in {w}?", "How many letters does {w} have?", "How long is the word {w}?", "What is the length of {w}?",
    "Count the letters in {w}.", "Length of {w}?", "How many letters in {w}?", "How many letters are in the word {w}?",
)  # fmt: skip
COUNT_VOWELS = (
    "How many vowels are in {w}?", "How many vowels does {w} have?", "Count the vowels in {w}.", "Number of vowels in {w}?",
    "How many vowels are in the word {w}?",
)  # fmt: skip
FIRST = (
    "What is the first letter of {w}?",
    "First letter of {w}?",
    "Which letter does {w} start with?",
    "What does {w} begin with?",
)
LAST = (
    "What is the last letter of {w}?",
    "Last letter of {w}?",
    "Which letter does {w} end with?",
    "What does {w} end with?",
)
NTH = (
    "What is the {n} letter of {w}?",
    "{n} letter of {w}?",
    "Which letter is {n} in {w}?",
    "What is the {n} letter in {w}?",
)
ORDINALS = (
    ("first", "1st"), ("second", "2nd"), ("third", "3rd"), ("fourth", "4th"), ("fifth", "5th"), ("sixth", "6th"), ("seventh", "7th"),
    ("eighth", "8th"),
)  # fmt: skip
SPELL = ("Spell {w}.", "How do you spell {w}?", "Spell the word {w}.", "Can you spell {w}?", "Spell out {w}")
CAPITALS = (
    "Write {w} in capital letters.", "Write {w} in capitals.", "Uppercase {w}", "Convert {w} to uppercase.", "Make {w} uppercase.",
    "What is {w} in upper case?",
)  # fmt: skip
SORT_LETTERS = (
    "Sort the letters of {w}.", "Sort the letters in {w}", "Put the letters of {w} in alphabetical order.",
    "Arrange the letters of {w} alphabetically.",
)  # fmt: skip
PALINDROME = (
    "Is {w} a palindrome?",
    "Is the word {w} a palindrome?",
    "Palindrome or not: {w}?",
    "Does {w} read the same backwards?",
)
CONTAINS = (
    "Is there a {c} in {w}?",
    "Does {w} contain {c}?",
    "Does {w} contain the letter {c}?",
    "Is the letter {c} in {w}?",
)
LONGER = (
    "Which word is longer, {a} or {b}?", "Which is longer: {a} or {b}?", "Which word has more letters, {a} or {b}?", "Longer word: {a} or {b}?",
)  # fmt: skip
REPEAT = (
    "Repeat {w} {n} times.",
    "Say {w} {n} times.",
    "Write {w} {n} times.",
    "Repeat the word {w} {n} times.",
)


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
        question, key = phrase(rng, REVERSE_DIGITS, w=text), f"digits:{text}"
    else:
        word = draw_word(rng, 13)
        text = draw_cased(rng, word)
        question, key = phrase(rng, REVERSE, w=quote(rng, text)), f"word:{word}"
    return Problem("reverse", key, question, reverse_steps(text), text[::-1])


@task("count a letter", 1.2)
def make_count(rng: Random) -> Problem:
    word = draw_word(rng)
    letter = rng.choice(word) if rng.random() < 0.85 else rng.choice(ALPHABET)
    shown = quote(rng, letter) if rng.random() < 0.3 else letter
    question = phrase(rng, COUNT, c=shown, w=quote(rng, draw_cased(rng, word)))
    return Problem(
        "count a letter", f"word:{word}", question, f"{tally(word, letter)}.", str(word.count(letter))
    )


@task("length of a word")
def make_length(rng: Random) -> Problem:
    word = draw_word(rng)
    question = phrase(rng, LENGTH, w=quote(rng, draw_cased(rng, word)))
    return Problem("length of a word", f"word:{word}", question, f"{number_letters(word)}.", str(len(word)))


@task("count vowels")
def make_vowels(rng: Random) -> Problem:
    word = draw_word(rng)
    question = phrase(rng, COUNT_VOWELS, w=quote(rng, draw_cased(rng, word)))
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
            phrase(rng, FIRST, w=shown),
            f"{word} starts with {word[0]}.",
            word[0],
        )
    if kind == 1:
        return Problem(
            "letter at a place",
            f"word:{word}",
            phrase(rng, LAST, w=shown),
            f"{number_letters(word)}.",
            word[-1],
        )
    place = rng.randrange(min(len(word), len(ORDINALS)))
    question = phrase(rng, NTH, n=rng.choice(ORDINALS[place]), w=shown)
    return Problem(
        "letter at a place", f"word:{word}", question, f"{number_letters(word[: place + 1])}.", word[place]
    )


@task("spell", 0.5)
def make_spell(rng: Random) -> Problem:
    word = draw_word(rng)
    question = phrase(rng, SPELL, w=quote(rng, word))
    return Problem("spell", f"word:{word}", question, "Letter by letter.", "-".join(word))


@task("capitals", 0.5)
def make_capitals(rng: Random) -> Problem:
    word = draw_word(rng)
    question = phrase(rng, CAPITALS, w=quote(rng, word))
    return Problem("capitals", f"word:{word}", question, "Letter by letter.", word.upper())


@task("sort letters")
def make_sort_letters(rng: Random) -> Problem:
    word = draw_word(rng, 10)
    question = phrase(rng, SORT_LETTERS, w=quote(rng, word))
    counts = " ".join(f"{letter}{word.count(letter)}" for letter in sorted(set(word)))
    return Problem(
        "sort letters", f"word:{word}", question, f"By the alphabet: {counts}.", "".join(sorted(word))
    )


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
    question = phrase(rng, PALINDROME, w=quote(rng, word))
    answer = "yes" if word == word[::-1] else "no"
    return Problem(
        "palindrome", f"word:{word}", question, f"{reverse_steps(word)} {word} and {word[::-1]}.", answer
    )


@task("contains", 0.6)
def make_contains(rng: Random) -> Problem:
    word = draw_word(rng)
    letter = rng.choice(word) if rng.random() < 0.5 else rng.choice(ALPHABET)
    question = phrase(rng, CONTAINS, c=letter, w=quote(rng, word))
    answer = "yes" if letter in word else "no"
    return Problem("contains", f"word:{word}", question, f"{tally(word, letter)}.", answer)


@task("longer word", 0.8)
def make_longer(rng: Random) -> Problem:
    a, b = draw_word(rng, 10), draw_word(rng, 10)
    if len(a) == len(b):
        return make_longer(rng)
    reasoning = f"{number_letters(a)}. {number_letters(b)}. {len(a)} and {len(b)}."
    key = f"list:{','.join(sorted((a, b)))}"
    return Problem("longer word", key, phrase(rng, LONGER, a=a, b=b), reasoning, max(a, b, key=len))


@task("repeat", 0.4)
def make_repeat(rng: Random) -> Problem:
    word, times = draw_word(rng, 8), rng.randint(2, 6)
    counted = " ".join(f"{word}{i}" for i in range(1, times + 1))
    question = phrase(rng, REPEAT, w=quote(rng, word), n=times)
    return Problem("repeat", f"word:{word}", question, f"{counted}.", " ".join([word] * times))
