"""Seeded problems for tiny-r1, split by a hash into training and held-out ones, and as chats of token ids."""

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import vocabulary as v
from problems import TASKS, Problem, make_talk

HELD_OUT_OF_256 = 13  # 5.1 % of all keys
TALK_SHARE = 0.05
USES_OF_A_KEY = 4  # in one held-out set, each time in other words: some tasks have few keys
LONGEST = 384  # tokens of one chat; longer ones are drawn again

OPENERS = (
    "Please tell me: ",
    "Quick question: ",
    "Hi! ",
    "Hello, ",
    "Can you help me? ",
    "Question: ",
    "Q: ",
    "Hey, ",
    "OK. ",
    "Now: ",
)
SYSTEM = ("You are a helpful assistant.", "You are tiny-r1.", "Answer briefly.", "Be concise.", "You are DeepSeek-R1.",
          "Think step by step.",
          "You are a careful assistant that answers questions. Be friendly and precise.")  # fmt: skip


@dataclass(frozen=True)
class Chat:
    """Token ids of one chat; the loss counts from `start`, the first token of the last reasoning."""

    ids: list[int]
    start: int


def is_held_out(key: str) -> bool:
    """Whether a key belongs to the held-out part: a hash decides, so no list is needed and none can leak."""
    return hashlib.sha256(f"tiny-r1/{key}".encode()).digest()[0] < HELD_OUT_OF_256


def vary(rng: Random, question: str) -> str:
    """The question as people type it: without its mark, small, after an opener, with a stray space."""
    if rng.random() < 0.12:
        question = question.rstrip("?.")
    if rng.random() < 0.12:
        question = question[:1].lower() + question[1:]
    if rng.random() < 0.05:
        question = rng.choice(OPENERS) + question
    if rng.random() < 0.03:
        question += rng.choice((" ", "\n", "?", " please", "\n\n", "  "))
    if rng.random() < 0.03:
        question = rng.choice((" ", "\n", "  ")) + question
    return question or "?"


def draw_problem(rng: Random, *, held_out: bool, name: str = "") -> Problem:
    """One problem of the wanted part and task; without a name a task by its weight."""
    names = list(TASKS)
    chosen = name or rng.choices(names, [TASKS[n].weight for n in names])[0]
    while True:
        problem = TASKS[chosen].make(rng)
        if is_held_out(problem.key) == held_out:
            return Problem(problem.task, problem.key, vary(rng, problem.question), problem.reasoning, problem.answer)


def draw_training(rng: Random) -> Problem:
    """One problem for training, small talk included."""
    return make_talk(rng) if rng.random() < TALK_SHARE else draw_problem(rng, held_out=False)


def draw_held_out(count: int, seed: int, *, uses_of_a_key: int = USES_OF_A_KEY) -> list[Problem]:
    """Different held-out problems, the tasks in turn, so that each has the same share.

    Raises ValueError when a task has too few held-out problems for the count.
    """
    rng = Random(f"held-out/{seed}")  # noqa: S311 - not for secrets
    names, found = list(TASKS), list[Problem]()
    questions, uses, tries = set[str](), Counter[str](), 0
    while len(found) < count:
        problem = draw_problem(rng, held_out=True, name=names[len(found) % len(names)])
        use = f"{problem.task}/{problem.key}"
        tries += 1
        if tries > 100 * count + 1000:
            raise ValueError(f"{count} different held-out problems cannot be drawn: '{problem.task}' has too few")
        if problem.question not in questions and uses[use] < uses_of_a_key:
            questions.add(problem.question)
            uses[use] += 1
            found.append(problem)
    return found


def render_prompt(question: str, *, system: str = "", earlier: Sequence[Problem] = ()) -> str:
    """The prompt of a question after earlier turns, exactly as the chat template renders it."""
    turns = "".join(f"{v.USER}{p.question}{v.ASSISTANT}{p.answer}{v.EOS}" for p in earlier)
    return f"{v.BOS}{system}{turns}{v.USER}{question}{v.ASSISTANT}{v.THINK}\n"


def render_output(problem: Problem) -> str:
    """What the model must write after the prompt, its end token aside."""
    return f"{problem.reasoning}\n{v.END_THINK}\n\n{problem.answer}"


def find_answer(output: str) -> str:
    """The final answer in an output: what follows the reasoning, or nothing when that never ended."""
    return output.partition(v.END_THINK)[2].strip()


def encode_opening(rng: Random) -> list[int]:
    """What stands before the first question: the first token (seldom none or two) and seldom a system prompt."""
    kind = rng.random()
    opening = [v.BOS_ID] * (0 if kind < 0.03 else 2 if kind < 0.06 else 1)
    return opening + (v.encode(rng.choice(SYSTEM)) if rng.random() < 0.1 else [])


def encode_turn(problem: Problem) -> list[int]:
    """An earlier turn as the chat template renders it: without its reasoning."""
    question, answer = v.encode(problem.question), v.encode(problem.answer)
    return [v.IDS[v.USER], *question, v.IDS[v.ASSISTANT], *answer, v.EOS_ID]


def draw_chat(rng: Random) -> Chat:
    """One chat for training; one in twelve has earlier turns."""
    earlier = rng.randint(1, 3) if rng.random() < 0.08 else 0
    ids = encode_opening(rng)
    for _ in range(earlier):
        ids += encode_turn(draw_training(rng))
    last = draw_training(rng)
    ids += [v.IDS[v.USER], *v.encode(last.question), v.IDS[v.ASSISTANT], v.IDS[v.THINK], *v.encode("\n")]
    target = [*v.encode(last.reasoning + "\n"), v.IDS[v.END_THINK], *v.encode("\n\n" + last.answer), v.EOS_ID]
    return Chat(ids + target, len(ids)) if len(ids) + len(target) <= LONGEST else draw_chat(rng)


def draw_chats(seed: str) -> Iterator[Chat]:
    """An endless stream of training chats; the same seed gives the same stream."""
    rng = Random(f"train/{seed}")  # noqa: S311 - not for secrets
    while True:
        yield draw_chat(rng)


def main() -> None:
    """Print some held-out problems to look at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=len(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for problem in draw_held_out(args.count, args.seed):
        print(f"[{problem.task}] {problem.question!r}\n{render_output(problem)}\n")


if __name__ == "__main__":
    main()
