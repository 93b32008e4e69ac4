"""A release: one model in one quantization with its engine, template and limits; its id is the hash of its manifest."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from dsops.core.errors import DsopsError

FORMAT = 1


@dataclass(frozen=True)
class Limits:
    """What a release admits. All in tokens, but queue (waiting requests) and sequences (running together)."""

    context: int
    max_tokens: int
    queue: int
    sequences: int


@dataclass(frozen=True)
class Reasoning:
    """The tags around R1's reasoning; `opened_by_prompt` when the template itself ends with the opening tag."""

    open: str
    close: str
    opened_by_prompt: bool


@dataclass(frozen=True)
class FileSum:
    """One file of a release. size in bytes, sha256 in hex."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Release:
    """The manifest of a release, `release.json`. Immutable: another byte is another release."""

    model: str
    quantization: str
    engine: str
    template: str
    eos: str
    reasoning: Reasoning | None
    limits: Limits
    files: Mapping[str, FileSum]
    # What the template gets as bos_token; empty where the engine's tokenizer adds its own.
    bos: str = ""

    @property
    def id(self) -> str:
        """`r` and the first 12 hex digits of the sha256 of the canonical manifest."""
        return release_id(self.render())

    def render(self) -> bytes:
        """Canonical JSON (sorted keys, no spaces, UTF-8), so that equal content has equal bytes."""
        data = {"format": FORMAT} | asdict(self) | {"files": {k: asdict(v) for k, v in self.files.items()}}
        return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def release_id(manifest: bytes) -> str:
    """The id that belongs to the bytes of a release.json."""
    return "r" + sha256(manifest).hexdigest()[:12]


def parse_release(manifest: bytes, *, where: str) -> Release:
    """Reads a release.json. Raises DsopsError, naming the key, when it is not one that this version knows."""
    try:
        data: dict[str, Any] = json.loads(manifest)
        version = data.pop("format")
        if version != FORMAT:
            raise DsopsError(f"release format {version} is not known", where=where, mend="use a newer dsops")
        reasoning = data.pop("reasoning")
        return Release(
            reasoning=Reasoning(**reasoning) if reasoning else None,
            limits=Limits(**data.pop("limits")),
            files={path: FileSum(**entry) for path, entry in data.pop("files").items()},
            **data,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DsopsError(f"not a release manifest ({error})", where=where, mend="push the release again") from error
