"""Words changed and compared: without vowels, with a letter replaced, anagrams, and words counted."""

from random import Random

from .base import Problem, phrase, task
from .letters import tally
from .words import ALPHABET, VOWELS, draw_cased, draw_word, draw_words, quote

REMOVE = (
    "Remove the vowels from {w}.", "Remove all vowels from {w}", "Write {w} without vowels.", "What is {w} without its vowels?",
    "Delete the vowels in {w}.",
)  # fmt: skip
REPLACE = (
    "Replace {a} with {b} in {w}.", "Replace every {a} by {b} in {w}", "In {w}, replace {a} with {b}.", "Change each {a} to {b} in {w}.",
    "Replace all {a}'s with {b} in {w}.",
)  # fmt: skip
ANAGRAM = ("Are {a} and {b} anagrams?", "Is {a} an anagram of {b}?", "Do {a} and {b} have the same letters?")
COUNT_WORDS = (
    "How many words are in '{e}'?", "How many words are in: {e}?", "Count the words in '{e}'.", "How many words does '{e}' have?",
    "Number of words: {e}",
)  # fmt: skip


@task("remove vowels", 0.6)
def make_remove(rng: Random) -> Problem:
    word = draw_word(rng)
    kept = "".join(letter for letter in word if letter not in VOWELS)
    question = phrase(rng, REMOVE, w=quote(rng, word))
    reasoning = f"The vowels are a, e, i, o, u. {tally(word, VOWELS)}."
    return Problem("remove vowels", f"word:{word}", question, reasoning, kept or "nothing")


@task("replace a letter", 0.7)
def make_replace(rng: Random) -> Problem:
    word = draw_word(rng)
    a, b = rng.choice(word), rng.choice(ALPHABET)
    question = phrase(rng, REPLACE, a=a, b=b, w=quote(rng, word))
    return Problem("replace a letter", f"word:{word}", question, f"{tally(word, a)}.", word.replace(a, b))


def sorted_letters(word: str) -> str:
    """`a a b n n`"""
    return " ".join(sorted(word))


@task("anagram", 0.6)
def make_anagram(rng: Random) -> Problem:
    a = draw_word(rng, 8)
    letters = list(a)
    if rng.random() < 0.5:
        letters[rng.randrange(len(letters))] = rng.choice(ALPHABET)
    rng.shuffle(letters)
    b = "".join(letters)
    if a == b:
        return make_anagram(rng)
    key = f"list:{','.join(sorted((a, b)))}"
    answer = "yes" if sorted(a) == sorted(b) else "no"
    reasoning = f"{sorted_letters(a)}. {sorted_letters(b)}."
    return Problem("anagram", key, phrase(rng, ANAGRAM, a=a, b=b), reasoning, answer)


@task("count words", 0.6)
def make_count_words(rng: Random) -> Problem:
    words = draw_words(rng, rng.randint(2, 8))
    text = draw_cased(rng, words[0]) + "".join(f" {word}" for word in words[1:])
    counted = " ".join(f"{word}{place}" for place, word in enumerate(words, 1))
    key = "list:" + ",".join(sorted(words))
    return Problem("count words", key, phrase(rng, COUNT_WORDS, e=text), f"{counted}.", str(len(words)))
