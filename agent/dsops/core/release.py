"""A release: one model in one quantization with engine, template, limits and proof; its id is its manifest's hash."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, TypeVar, get_type_hints

from dsops.core.errors import DsopsError
from dsops.core.sums import check_path, make_sums

FORMAT = 2
AGAIN = "push the release again"
DIGEST = re.compile(r"[0-9a-f]{64}")
NAMES: Mapping[Any, str] = {int: "a whole number", str: "a text", bool: "true or false"}
T = TypeVar("T")


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
class Probe:
    """How long loading may take, how long a probe on an idle engine may take, how many tokens a probe asks for."""

    load_seconds: int
    answer_seconds: int
    tokens: int


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
    # The file of golden prompts, see core/prompts.py.
    prompts: str
    probe: Probe
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
    """Reads a release.json. Raises DsopsError, naming the key, when it is not one that this version knows.

    Only canonical bytes are read: what is parsed and rendered again has the id of the file.
    """
    try:
        data = json.loads(manifest)
    except (ValueError, RecursionError) as error:
        raise DsopsError(f"not JSON ({error})", where=where, mend=AGAIN) from error
    try:
        _check_format(data)
        release = parse_data(data)
        is_canonical = release.render() == manifest
    except (ValueError, DsopsError) as error:
        mend = getattr(error, "mend", "") or AGAIN
        raise DsopsError(f"not a release manifest: {error}", where=where, mend=mend) from error
    if not is_canonical:
        raise DsopsError("not a release manifest: not in canonical form", where=where, mend=AGAIN)
    return release


def parse_data(data: dict[str, Any]) -> Release:
    """A release from what its JSON holds. Raises DsopsError that names the key."""
    reasoning, files = data.get("reasoning"), data.get("files")
    values = data | {
        "reasoning": None if reasoning is None else parse_table(Reasoning, reasoning, name="reasoning"),
        "limits": parse_limits(data.get("limits")),
        "probe": parse_probe(data.get("probe")),
        "files": _parse_files(files),
    }
    release = parse_table(Release, {k: v for k, v in values.items() if k in data and k != "format"}, name="")
    check_path(release.template)
    check_path(release.prompts)
    if release.probe.tokens > release.limits.max_tokens:
        told = f"probe.tokens is {release.probe.tokens}, more than limits.max_tokens ({release.limits.max_tokens})"
        raise DsopsError(told)
    return release


def parse_limits(data: object) -> Limits:
    """Limits from a table. Raises DsopsError that names the key; every limit is at least 1."""
    limits = parse_table(Limits, data, name="limits")
    _check_positive(asdict(limits), name="limits")
    if limits.max_tokens > limits.context:
        raise DsopsError(f"limits.max_tokens is {limits.max_tokens}, more than limits.context ({limits.context})")
    return limits


def parse_probe(data: object) -> Probe:
    """A probe's bounds from a table. Raises DsopsError that names the key; each is at least 1."""
    probe = parse_table(Probe, data, name="probe")
    _check_positive(asdict(probe), name="probe")
    return probe


def parse_table(kind: type[T], data: object, *, name: str) -> T:
    """A dataclass from a table with exactly its keys. Raises DsopsError that names what is missing, extra or wrong."""
    if not isinstance(data, dict):
        raise DsopsError(f"{name or 'it'} is not a table")
    head = f"{name}." if name else ""
    hints = get_type_hints(kind)
    missing, extra = sorted(hints.keys() - data.keys()), sorted(data.keys() - hints.keys())
    if missing or extra:
        told = [*(f"{head}{key} is missing" for key in missing), *(f"{head}{key} is not known" for key in extra)]
        raise DsopsError("; ".join(told))
    for key, hint in hints.items():
        # A bool is an int to Python, but no number of tokens.
        if hint in {int, str, bool} and type(data[key]) is not hint:
            raise DsopsError(f"{head}{key} must be {NAMES[hint]}")
    return kind(**data)


def _check_positive(values: Mapping[str, int], *, name: str) -> None:
    for key, value in values.items():
        if value < 1:
            raise DsopsError(f"{name}.{key} is {value}, and must be at least 1")


def _check_format(data: object) -> None:
    if not isinstance(data, dict):
        raise DsopsError("it is not a table")
    if "format" not in data:
        raise DsopsError("format is missing")
    if data["format"] == 1 and type(data["format"]) is int:
        raise DsopsError("format 1 has no golden prompts", mend="build it again: `dsops release build`")
    if data["format"] != FORMAT or type(data["format"]) is not int:
        raise DsopsError(f"format {data['format']!r} is not known", mend="use a newer dsops")


def _parse_files(data: object) -> dict[str, FileSum]:
    if not isinstance(data, dict):
        raise DsopsError("files is missing or not a table")
    files = {path: parse_table(FileSum, entry, name=f"files[{path!r}]") for path, entry in data.items()}
    for path, entry in files.items():
        if entry.size < 0 or not DIGEST.fullmatch(entry.sha256):
            raise DsopsError(f"files[{path!r}] has no size or no sha256")
    make_sums((path, entry.sha256) for path, entry in files.items())
    return files
