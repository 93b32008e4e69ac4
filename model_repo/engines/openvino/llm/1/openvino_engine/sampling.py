"""Sampling parameters: JSON from the client in, one checked value out; whatever is unknown is refused."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any

from openvino_engine.errors import InvalidRequest

MAX_STOPS = 16
MAX_STOP_LENGTH = 256


@dataclass(frozen=True)
class Sampling:
    """Names and defaults are those of vLLM's SamplingParams, so that engines are exchangeable."""

    max_tokens: int | None = 16  # None: as many as the limits allow
    min_tokens: int = 0
    temperature: float = 1.0  # 0 is greedy, and deterministic
    top_p: float = 1.0
    top_k: int = 0  # 0 or -1: all
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop_str_in_output: bool = False
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    n: int = 1


def parse_sampling(text: str, *, most_tokens: int) -> Sampling:
    """The checked parameters (empty text: all defaults); raises InvalidRequest naming the parameter."""
    values = _load_object(text)
    unknown = sorted(set(values) - set(READERS))
    if unknown:
        raise InvalidRequest(f"unknown sampling parameter: {', '.join(unknown)}")
    sampling = Sampling(**{name: READERS[name](name, value) for name, value in values.items()})
    if "max_tokens" in values and (sampling.max_tokens or 0) > most_tokens:
        raise InvalidRequest(f"max_tokens is {sampling.max_tokens}; this release allows {most_tokens}")
    _check_together(sampling, most_tokens=most_tokens)
    return sampling


def _load_object(text: str) -> Mapping[str, Any]:
    try:
        values = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"sampling_parameters is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise InvalidRequest("sampling_parameters must be a JSON object")
    return values


def _check_together(sampling: Sampling, *, most_tokens: int) -> None:
    if sampling.min_tokens > (sampling.max_tokens or most_tokens):
        raise InvalidRequest("min_tokens must not be more than max_tokens")
    if sampling.ignore_eos and sampling.stop_token_ids:  # openvino knows only one switch for both
        raise InvalidRequest("stop_token_ids cannot go together with ignore_eos in this engine")


def _integer(low: int, high: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        number = _number(name, value)
        if number != int(number) or not low <= number <= high:
            raise InvalidRequest(f"{name} must be a whole number from {low} to {high}")
        return int(number)

    return read


def _decimal(low: float, high: float, *, above: bool = False) -> Callable[[str, Any], float]:
    def read(name: str, value: Any) -> float:
        number = _number(name, value)
        if not low <= number <= high or (above and number == low):
            raise InvalidRequest(f"{name} must be {'above' if above else 'at least'} {low:g} and at most {high:g}")
        return float(number)

    return read


def _number(name: str, value: Any) -> float:
    """Numbers, and texts of numbers as Triton's own vLLM samples send them; never booleans, never NaN."""
    if isinstance(value, str) and len(value) < 32:
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 2**63 or value != value:
        raise InvalidRequest(f"{name} must be a number")
    return value


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name} must be true or false")
    return value


def _optional(read: Callable[[str, Any], int]) -> Callable[[str, Any], int | None]:
    return lambda name, value: None if value is None else read(name, value)


def _stops(name: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(texts, list) or len(texts) > MAX_STOPS:
        raise InvalidRequest(f"{name} must be a text or a list of at most {MAX_STOPS} texts")
    for text in texts:
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_STOP_LENGTH:
            raise InvalidRequest(f"each {name} must be a text of 1 to {MAX_STOP_LENGTH} characters")
    return tuple(texts)


def _token_ids(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MAX_STOPS:
        raise InvalidRequest(f"{name} must be a list of at most {MAX_STOPS} token ids")
    read = _integer(0, 2**31 - 1)
    return tuple(read(name, item) for item in value)


def _one(name: str, value: Any) -> int:
    if value != 1 or isinstance(value, bool):
        raise InvalidRequest(f"{name} must be 1")
    return 1


READERS: dict[str, Callable[[str, Any], Any]] = {
    "max_tokens": _optional(_integer(1, 2**31 - 1)),
    "min_tokens": _integer(0, 2**31 - 1),
    "temperature": _decimal(0, 10),
    "top_p": _decimal(0, 1, above=True),
    "top_k": _integer(-1, 2**31 - 1),
    "min_p": _decimal(0, 1),
    "stop": _stops,
    "stop_token_ids": _token_ids,
    "include_stop_str_in_output": _boolean,
    "seed": _optional(_integer(0, 2**63 - 1)),
    "frequency_penalty": _decimal(-2, 2),
    "presence_penalty": _decimal(-2, 2),
    "repetition_penalty": _decimal(0, 10, above=True),
    "ignore_eos": _boolean,
    "skip_special_tokens": _boolean,
    "n": _one,
}
assert set(READERS) == {field.name for field in fields(Sampling)}
