"""Words changed and compared: without vowels, with a letter replaced, anagrams, and words counted."""

from random import Random

from .base import Problem, phrase, task
from .letters import tally
from .wordings import get_wordings
from .words import ALPHABET, VOWELS, draw_cased, draw_word, draw_words, quote

FORMS = get_wordings("edits")


@task("remove vowels", 0.6)
def make_remove(rng: Random) -> Problem:
    word = draw_word(rng)
    kept = "".join(letter for letter in word if letter not in VOWELS)
    question = phrase(rng, FORMS["remove"], w=quote(rng, word))
    reasoning = f"The vowels are a, e, i, o, u. {tally(word, VOWELS)}."
    return Problem("remove vowels", f"word:{word}", question, reasoning, kept or "nothing")


@task("replace a letter", 0.7)
def make_replace(rng: Random) -> Problem:
    word = draw_word(rng)
    a, b = rng.choice(word), rng.choice(ALPHABET)
    question = phrase(rng, FORMS["replace"], a=a, b=b, w=quote(rng, word))
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
    return Problem("anagram", key, phrase(rng, FORMS["anagram"], a=a, b=b), reasoning, answer)


@task("count words", 0.6)
def make_count_words(rng: Random) -> Problem:
    words = draw_words(rng, rng.randint(2, 8))
    text = draw_cased(rng, words[0]) + "".join(f" {word}" for word in words[1:])
    counted = " ".join(f"{word}{place}" for place, word in enumerate(words, 1))
    key = "list:" + ",".join(sorted(words))
    return Problem("count words", key, phrase(rng, FORMS["count_words"], e=text), f"{counted}.", str(len(words)))
