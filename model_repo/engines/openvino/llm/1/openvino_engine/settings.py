"""Limits and settings of the engine, read once from the parameters of config.pbtxt."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

# Measured on two cores, 1 / 16 / 64 streams: 815 / 5,520 / 8,840 tokens/s at 200, 505 / 3,860 / 5,320 at 800,
# 470 / 2,690 / 2,260 with a message for each token.
MESSAGES_PER_SECOND = 200


@dataclass(frozen=True)
class Settings:
    """The first four are the release's limits; the rest has defaults that fit any model."""

    context: int  # tokens, prompt and answer together
    max_tokens: int  # most tokens one request may ask for
    queue: int  # requests that may wait for a place
    sequences: int  # requests that step together
    batched_tokens: int = 256  # tokens of one step; a longer prompt is taken in slices, so that others go on
    cache_gb: int = 0  # key-value cache; 0 grows on demand, bounded by context x sequences
    messages_per_second: int = MESSAGES_PER_SECOND
    threads: int = 0  # of the inference; 0 lets openvino choose
    prefix_caching: int = 0  # 1 keeps common prefixes; off, so that a probe's prompt is really computed each time

    def __post_init__(self) -> None:
        for name in ("context", "max_tokens", "sequences", "batched_tokens", "messages_per_second"):
            if getattr(self, name) < 1:
                raise ValueError(f"config.pbtxt: parameter {name} must be at least 1")
        for name in ("queue", "cache_gb", "threads", "prefix_caching"):
            if getattr(self, name) < 0:
                raise ValueError(f"config.pbtxt: parameter {name} must not be negative")


def parse_settings(parameters: Mapping[str, Any]) -> Settings:
    """From Triton's form {"context": {"string_value": "1024"}, ...}; ValueError names the parameter."""
    wanted = [field.name for field in fields(Settings) if field.default is MISSING or field.name in parameters]
    return Settings(**{name: _read_int(parameters, name) for name in wanted})


def _read_int(parameters: Mapping[str, Any], name: str) -> int:
    if name not in parameters:
        raise ValueError(f"config.pbtxt: parameter {name} is missing")
    text = parameters[name]["string_value"]
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"config.pbtxt: parameter {name} must be a whole number, not {text!r}") from None
