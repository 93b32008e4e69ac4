"""Builds a release: engine template + checkpoint + limits, laid out as a Triton model repository with its manifest."""

import datetime as dt
import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dsops.control.bundle.place import copy_file, settle, workplace
from dsops.control.bundle.sign import Signer, sign
from dsops.control.bundle.verify import hash_file, walk
from dsops.core.chat import compile_template
from dsops.core.errors import DsopsError
from dsops.core.prompts import parse_prompts
from dsops.core.release import (
    FileSum,
    Limits,
    Reasoning,
    Release,
    parse_limits,
    parse_probe,
    parse_release,
    parse_table,
)

MANIFEST = "release.json"
TEMPLATE = "chat_template.jinja"
PROMPTS = "prompts.json"
MODEL = "models/llm/1/model"
PROFILE = "release.toml"
EXAMPLE = "see model_repo/checkpoints/tiny-r1/release.toml"
TEXTS = {"model", "quantization", "engine", "weights", "template", "eos", "prompts"}
TABLES = {"limits", "probe"}
OTHERS = {"reasoning", "bos", "settings"}
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib"}
# How torch.save began before it wrote zip files: its magic number as a pickle.
LEGACY = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"
T = TypeVar("T")


def build_release(profile: Path, *, root: Path, out: Path, signer: Signer | None = None) -> Release:
    """Lays the release of a profile (a release.toml beside a checkpoint) out below `out`/<id>; returns its manifest.

    root: the checkout, which holds the engines. signer: whose key signs the manifest; None leaves it unsigned, for
    tests. Raises DsopsError when a part is missing.
    """
    said = read_profile(profile)
    limits = _parse(parse_limits, said["limits"], where=profile)
    probe = _parse(parse_probe, said["probe"], where=profile)
    prompts = read_prompts(profile, limits=limits)
    weights = find_weights(profile)
    with workplace(out) as work:
        copy_part(find_engine(root, said["engine"]), work / "models/llm")
        copy_part(weights, work / MODEL)
        config = work / "models/llm/config.pbtxt"
        text = render_limits(config.read_text(), limits, where=str(config))
        config.write_text(text + render_settings(said.get("settings", {}), where=profile))
        (work / TEMPLATE).write_text(read_template(weights / said["template"]))
        (work / PROMPTS).write_bytes(prompts)
        release = Release(
            model=said["model"],
            quantization=said["quantization"],
            engine=said["engine"],
            template=TEMPLATE,
            eos=said["eos"],
            bos=said.get("bos", ""),
            reasoning=_read_reasoning(said, profile),
            limits=limits,
            files={name: FileSum(file.stat().st_size, hash_file(file)) for name, file in walk(work)},
            prompts=PROMPTS,
            probe=probe,
        )
        (work / MANIFEST).write_bytes(release.render())
        parse_release(release.render(), where=str(profile))
        if signer:
            sign(work / MANIFEST, signer.for_releases)
        settle(work, out / release.id)
    return release


def render_limits(config: str, limits: Limits, *, where: str) -> str:
    """A config.pbtxt with this release's limits in place of the template's. Raises when it lacks one."""
    for key, value in asdict(limits).items():
        line = re.compile(rf'(parameters {{ key: "{key}" value: {{ string_value: ")[^"]*(")')
        config, count = line.subn(rf"\g<1>{value}\g<2>", config)
        if count != 1:
            raise DsopsError(
                f"no parameter {key} for the release's limit", where=where, mend="mend the engine's template"
            )
    return config


def render_settings(settings: object, *, where: Path) -> str:
    """The config.pbtxt parameters of a profile's [settings]: whole numbers that the engine knows by name."""
    if not isinstance(settings, dict) or any(type(value) is not int for value in settings.values()):
        raise DsopsError("[settings] holds whole numbers by name", where=str(where), mend=EXAMPLE)
    if taken := settings.keys() & {field.name for field in fields(Limits)}:
        raise DsopsError(f"{min(taken)} belongs into [limits]", where=str(where), mend=EXAMPLE)
    line = 'parameters {{ key: "{}" value: {{ string_value: "{}" }} }}\n'
    return "".join(line.format(_check_name(key, key="settings", where=where), value) for key, value in settings.items())


def read_profile(profile: Path) -> dict[str, Any]:
    """What a release.toml says. Raises DsopsError when a key is missing, unknown, or not a text."""
    try:
        said = tomllib.loads(profile.read_text())
    except OSError as error:
        raise DsopsError(f"no release profile ({error.strerror})", where=str(profile), mend=EXAMPLE) from error
    except ValueError as error:
        raise DsopsError(f"not TOML ({error})", where=str(profile), mend=EXAMPLE) from error
    missing, extra = (TEXTS | TABLES) - said.keys(), said.keys() - TEXTS - TABLES - OTHERS
    if missing or extra:
        told = f"missing {', '.join(sorted(missing))}" if missing else f"unknown {', '.join(sorted(extra))}"
        raise DsopsError(told, where=str(profile), mend=EXAMPLE)
    for key in sorted(said.keys() - TABLES - {"reasoning", "settings"}):
        if not isinstance(said[key], str):
            raise DsopsError(f"{key} must be a text", where=str(profile), mend=EXAMPLE)
    _check_name(said["engine"], key="engine", where=profile)
    return said


def find_profile(path: Path) -> Path:
    """The release.toml itself, or the one in a model's folder. Raises DsopsError when there is none."""
    profile = path / PROFILE if path.is_dir() else path
    if not profile.is_file():
        raise DsopsError("no release profile", where=str(profile), mend=EXAMPLE)
    return profile


def find_weights(profile: Path) -> Path:
    """The folder of a profile's weights, beside it. Raises DsopsError when it is not there."""
    folder = profile.parent / str(read_profile(profile)["weights"])
    if not folder.is_dir():
        raise DsopsError("no such folder of weights", where=str(folder), mend=f"mend `weights` in {profile}")
    return folder


def find_prompts(profile: Path) -> Path:
    """The file of a profile's golden prompts, beside it. Raises DsopsError when it is not there."""
    file = profile.parent / str(read_profile(profile)["prompts"])
    if not file.is_file():
        mend = "a release proves itself by prompts with known answers: see model_repo/checkpoints/tiny-r1/prompts.json"
        raise DsopsError("no golden prompts", where=str(file), mend=mend)
    return file


def read_prompts(profile: Path, *, limits: Limits) -> bytes:
    """The golden prompts as they go into the release. Raises DsopsError when one asks for more than the limits."""
    file = find_prompts(profile)
    content = file.read_bytes()
    for prompt in parse_prompts(content, where=str(file)):
        if prompt.tokens > limits.max_tokens:
            told = f"prompt {prompt.id} wants {prompt.tokens} tokens, more than limits.max_tokens ({limits.max_tokens})"
            raise DsopsError(told, where=str(file), mend="choose a question with a shorter answer")
    return content


def find_engine(root: Path, name: str) -> Path:
    """The model repository's template of an engine. Raises DsopsError, naming those that there are."""
    folder = root / "model_repo/engines" / name / "llm"
    if not folder.is_dir():
        known = sorted(found.parent.name for found in root.glob("model_repo/engines/*/llm"))
        raise DsopsError(f"no engine {name}", where=str(folder), mend=f"there is {', '.join(known) or 'none'}")
    return folder


def _parse(parse: Callable[[object], T], data: object, *, where: Path) -> T:
    """A table of the profile. Raises DsopsError naming key and file."""
    try:
        return parse(data)
    except DsopsError as error:
        raise DsopsError(error.what, where=str(where), mend=EXAMPLE) from error


def read_template(file: Path) -> str:
    """A chat template: a .jinja file as it is, or out of a Hugging Face tokenizer_config.json. It must compile."""
    if not file.is_file():
        raise DsopsError("no chat template", where=str(file), mend="name it as `template` in the release.toml")
    text = _find_template(file) if file.suffix == ".json" else file.read_text()
    try:
        compile_template(text, now=dt.datetime.now)
    except DsopsError as error:
        raise DsopsError(error.what, where=str(file)) from error
    return text


def copy_part(source: Path, out: Path) -> None:
    """Copies an engine or a checkpoint, without hidden files. Raises DsopsError on weights that can run code."""
    for name, file in walk(source):
        if any(part.startswith(".") or part == "__pycache__" for part in name.split("/")):
            continue
        if is_pickle(file):
            mend = "convert them to safetensors"
            raise DsopsError("pickle weights can run code and are refused", where=str(file), mend=mend)
        if file.name.endswith("config.json") and _names_code(file):
            mend = "use a model whose architecture the engine knows, and take `auto_map` out"
            raise DsopsError("auto_map asks for a model's own code, which is refused", where=str(file), mend=mend)
        copy_file(file, out / name)


def is_pickle(file: Path) -> bool:
    """Whether a file is a pickle or a zip of one (torch.save), by name or by content.

    OpenVINO's raw .bin is neither, and may begin with any two bytes: so a pickle must also end as one.
    """
    if file.suffix in PICKLES or file.match("pytorch_model*.bin"):
        return True
    if file.suffix != ".bin":
        return False
    with file.open("rb") as stream:
        head = stream.read(len(LEGACY))
        stream.seek(max(0, file.stat().st_size - 1))
        last = stream.read(1)
    begins = head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}
    return head == LEGACY or head.startswith(b"PK\x03\x04") or (begins and last == b".")


def _names_code(file: Path) -> bool:
    """Whether a configuration tells transformers to run Python that came with the model (trust_remote_code)."""
    try:
        return _has_key(json.loads(file.read_bytes()), "auto_map")
    except (ValueError, RecursionError):
        return False


def _has_key(data: object, key: str) -> bool:
    if isinstance(data, dict):
        return key in data or any(_has_key(value, key) for value in data.values())
    return isinstance(data, list) and any(_has_key(value, key) for value in data)


def _find_template(file: Path) -> str:
    """`chat_template` is a text, or a list of named ones of which `default` counts."""
    try:
        found = json.loads(file.read_text())["chat_template"]
        named = {"default": found} if isinstance(found, str) else {one["name"]: one["template"] for one in found}
        return str(named["default"])
    except (ValueError, LookupError, TypeError) as error:
        mend = "name the model's .jinja file as `template` in the release.toml"
        raise DsopsError("no chat_template in it", where=str(file), mend=mend) from error


def _read_reasoning(said: dict[str, Any], profile: Path) -> Reasoning | None:
    found = said.get("reasoning")
    parse = partial(parse_table, Reasoning, name="reasoning")
    return None if found is None else _parse(parse, found, where=profile)


def _check_name(name: str, *, key: str, where: Path) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise DsopsError(f"{key} {name!r} is no name", where=str(where), mend=EXAMPLE)
    return name
