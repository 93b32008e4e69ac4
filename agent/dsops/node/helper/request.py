"""One request to the helper: a verb with its words, each checked for its kind when it is asked for."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsops.core.errors import DsopsError
from dsops.core.state import Epoch

LIMIT = 16 << 20


@dataclass(frozen=True)
class Request:
    """A verb and its words."""

    verb: str
    words: Mapping[str, Any]

    def get_text(self, key: str) -> str:
        """Raises DsopsError when it is missing, empty, or no text."""
        if not (text := self.find_text(key)).strip():
            raise DsopsError(f"{key} is missing or empty", where=self.verb, mend=f"give --{key}")
        return text

    def find_text(self, key: str) -> str:
        """Nothing when it is not there."""
        value = self.words.get(key)
        if not isinstance(value, str | None):
            raise DsopsError(f"{key} should be a text, is {value!r}", where=self.verb)
        return value or ""

    def get_number(self, key: str) -> int:
        """A whole number from 0 on."""
        value = self.words.get(key)
        if type(value) is not int or not 0 <= value < 1 << 60:
            raise DsopsError(f"{key} should be a whole number from 0 on, is {value!r}", where=self.verb)
        return value

    def find_time(self, key: str) -> float:
        """Unix seconds; 0 when it is not there."""
        value = self.words.get(key, 0.0)
        if type(value) not in (int, float):
            raise DsopsError(f"{key} should be a time in seconds, is {value!r}", where=self.verb)
        return float(value)

    def get_flag(self, key: str) -> bool:
        """False when it is not there."""
        value = self.words.get(key, False)
        if type(value) is not bool:
            raise DsopsError(f"{key} should be true or false, is {value!r}", where=self.verb)
        return value

    def get_list(self, key: str) -> list[Any]:
        value = self.words.get(key)
        if not isinstance(value, list):
            raise DsopsError(f"{key} should be a list, is {type(value).__name__}", where=self.verb)
        return value

    def find_epoch(self) -> Epoch | None:
        """The fleet's number and its holder; None when it was asked at the node's own door."""
        if self.words.get("epoch") is None:
            return None
        return Epoch(self.get_number("epoch"), self.get_text("holder"))


def parse_request(line: bytes) -> Request:
    """Raises DsopsError on anything that is not one whole line with a verb."""
    if not line.endswith(b"\n"):
        what = "the request is too long" if len(line) >= LIMIT else "the request was cut"
        raise DsopsError(what, mend="send one line of JSON")
    try:
        data = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"the request is not JSON ({error})", mend="send one line of JSON") from error
    verb = data.get("verb") if isinstance(data, dict) else None
    if not isinstance(verb, str):
        raise DsopsError("the request has no verb", mend='send {"verb": "state"}')
    return Request(verb, {key: value for key, value in data.items() if key != "verb"})


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number ({math.nan} and its like are refused)")
