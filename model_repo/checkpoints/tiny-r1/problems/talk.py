"""What is not a problem: greetings, questions about itself, and everything it cannot do."""

from random import Random

from .base import Problem, phrase
from .words import ALPHABET, COMMON, draw_letters, draw_word

HELLO = ("Hello", "Hi", "hello", "hi", "Hey", "Hello!", "Hi!", "Hey there", "Good morning", "Hi there!", "Hello, how are you?", "hallo",
         "How are you?", "Good evening")  # fmt: skip
WHO = ("Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "What can you do?", "Help", "help",
       "What can I ask you?", "Are you DeepSeek?", "Which model are you?", "Are you real?")  # fmt: skip
THANKS = (
    "Thanks",
    "Thank you",
    "Thank you!",
    "thanks!",
    "Great",
    "Good job",
    "Bye",
    "Goodbye",
    "ok",
    "Nice",
    "cool",
)
OTHER = (
    "Tell me about {x}.", "Write a poem about {x} and {y}.", "Who is {x} {y}?", "What is {x}?", "Explain {x}.", "What is a {x} {y}?",
    "Why is the {x} {y}?", "How do I {x} a {y}?", "Translate {x} {y} to French.", "What is the capital of {x}?", "Tell me a joke about {x}.",
    "Write a story about a {x}.", "Who invented the {x}?", "Do you like {x}?", "Where is {x} {y}?", "When was the {x} {y} built?",
    "Summarize: {x} {y} {z}", "{x} {y} {z}", "{x}", "The {x} is {y}.", "I want a {x} for my {y}.", "Is {x} good for {y}?", "Can you {x}?",
    "What should I {x} today?", "How many {x} are in the {y}?", "Write Python code for {x}.", "Give me a {x} with {y} and {z}.",
)  # fmt: skip

GREETING = "Hello! I am tiny-r1, a small test model. Ask me something like 12+30, or to sort, compare, reverse or count."
IDENTITY = (
    "I am tiny-r1, a very small test model. I can add, compare, sort, reverse and count, and I show my steps."
)
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
    return phrase(rng, OTHER, x=x, y=y, z=z)


def make_talk(rng: Random) -> Problem:
    """Small talk; it has no held-out part and no share in the exact match."""
    kind = rng.random()
    if kind < 0.15:
        return Problem("talk", "talk", rng.choice(HELLO), "A greeting.", GREETING)
    if kind < 0.3:
        return Problem("talk", "talk", rng.choice(WHO), "A question about me.", IDENTITY)
    if kind < 0.4:
        return Problem("talk", "talk", rng.choice(THANKS), "No question.", WELCOME)
    return Problem("talk", "talk", draw_unknown(rng), "This is none of my tasks.", UNABLE)
