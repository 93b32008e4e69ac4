"""Golden prompts: what a release is asked, and which answers to it are right."""

import json
import re
from dataclasses import dataclass

from dsops.core.errors import DsopsError
from dsops.core.release import parse_table

FORMAT = 1
# Three strikes want three different prompts: one that is wrong by itself must not look like a broken model.
FEWEST = 3
ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
EXAMPLE = "see model_repo/checkpoints/tiny-r1/prompts.json"


@dataclass(frozen=True)
class Prompt:
    """One question, asked at temperature 0. prompt: the chat template is already applied.

    accepted: whole answers, any of which is right. tokens: what the longest of them takes, with its end.
    """

    id: str
    prompt: str
    accepted: tuple[str, ...]
    tokens: int


def parse_prompts(content: bytes, *, where: str) -> tuple[Prompt, ...]:
    """Reads a prompts.json. Raises DsopsError naming prompt and key; fewer than three are refused."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"not JSON ({error})", where=where, mend=EXAMPLE) from error
    try:
        prompts = _parse(data)
        _check_different(prompts)
    except DsopsError as error:
        raise DsopsError(f"not golden prompts: {error.what}", where=where, mend=EXAMPLE) from error
    return prompts


def is_accepted(prompt: Prompt, text: str, *, whole: bool) -> bool:
    """Whether an answer is right. whole: it ended by itself; else it is the beginning of a right one, and not empty."""
    if whole:
        return text in prompt.accepted
    return bool(text) and any(answer.startswith(text) for answer in prompt.accepted)


def _parse(data: object) -> tuple[Prompt, ...]:
    if not isinstance(data, dict) or data.keys() != {"format", "prompts"}:
        raise DsopsError("it is not a table of `format` and `prompts`")
    if data["format"] != FORMAT or type(data["format"]) is not int:
        raise DsopsError(f"format {data['format']!r} is not known")
    if not isinstance(data["prompts"], list):
        raise DsopsError("prompts is not a list")
    return tuple(_parse_one(entry, name=f"prompts[{number}]") for number, entry in enumerate(data["prompts"]))


def _parse_one(entry: object, *, name: str) -> Prompt:
    prompt = parse_table(Prompt, entry, name=name)
    accepted: object = prompt.accepted
    if not isinstance(accepted, list) or not accepted or not all(text and type(text) is str for text in accepted):
        raise DsopsError(f"{name}.accepted must be a list of texts that are not empty")
    if not ID.fullmatch(prompt.id):
        raise DsopsError(f"{name}.id must be small letters, digits and -, at most 40")
    if not prompt.prompt:
        raise DsopsError(f"{name}.prompt is empty")
    if prompt.tokens < 1:
        raise DsopsError(f"{name}.tokens is {prompt.tokens}, and must be at least 1")
    return Prompt(prompt.id, prompt.prompt, tuple(accepted), prompt.tokens)


def _check_different(prompts: tuple[Prompt, ...]) -> None:
    """Raises DsopsError when there are too few, or two are one."""
    if len(prompts) < FEWEST:
        raise DsopsError(f"{len(prompts)} are too few to tell a wrong answer from a wrong prompt: at least {FEWEST}")
    for key in ("id", "prompt"):
        values = [getattr(prompt, key) for prompt in prompts]
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise DsopsError(f"two prompts have the {key} {twice!r}")
