"""Builds a release: engine template + checkpoint + limits, laid out as a Triton model repository with its manifest."""

import json
import re
import tomllib
from dataclasses import asdict
from pathlib import Path
from shutil import copyfile, rmtree
from typing import Any

from dsops.control.bundle.verify import hash_file, walk
from dsops.core.errors import DsopsError
from dsops.core.release import FileSum, Limits, Reasoning, Release

TEMPLATE = "chat_template.jinja"
MODEL = "models/llm/1/model"


def build_release(profile: Path, *, root: Path, out: Path) -> Release:
    """Lays the release of a profile (a release.toml beside a checkpoint) out below `out`/<id>; returns its manifest.

    root: the checkout, which holds the engines. Raises DsopsError when a part is missing.
    """
    said = _read_profile(profile)
    work = out / ".building"
    if work.exists():
        rmtree(work)
    engine = root / "model_repo/engines" / said["engine"]
    _copy_tree(engine / "llm", work / "models/llm")
    _copy_tree(profile.parent / said["weights"], work / MODEL)
    limits = Limits(**said["limits"])
    config = work / "models/llm/config.pbtxt"
    config.write_text(render_limits(config.read_text(), limits, where=str(config)))
    (work / TEMPLATE).write_text(_read_template(profile.parent / said["weights"] / said["template"]))
    release = Release(
        model=said["model"],
        quantization=said["quantization"],
        engine=said["engine"],
        template=TEMPLATE,
        eos=said["eos"],
        bos=said.get("bos", ""),
        reasoning=Reasoning(**said["reasoning"]) if "reasoning" in said else None,
        limits=limits,
        files={name: FileSum(file.stat().st_size, hash_file(file)) for name, file in walk(work)},
    )
    (work / "release.json").write_bytes(release.render())
    final = out / release.id
    if final.exists():
        rmtree(final)
    work.rename(final)
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


def _read_profile(profile: Path) -> dict[str, Any]:
    try:
        said = tomllib.loads(profile.read_text())
    except FileNotFoundError as error:
        raise DsopsError(
            "no release profile", where=str(profile), mend="see model_repo/checkpoints/tiny-r1/release.toml"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise DsopsError(f"not TOML ({error})", where=str(profile)) from error
    missing = {"model", "quantization", "engine", "weights", "template", "eos", "limits"} - said.keys()
    if missing:
        raise DsopsError(f"missing {', '.join(sorted(missing))}", where=str(profile))
    return said


def _read_template(file: Path) -> str:
    """A chat template: a .jinja file as it is, or out of a Hugging Face tokenizer_config.json."""
    if not file.is_file():
        raise DsopsError("no chat template", where=str(file))
    if file.suffix == ".json":
        return str(json.loads(file.read_text())["chat_template"])
    return file.read_text()


def _copy_tree(source: Path, out: Path) -> None:
    if not source.is_dir():
        raise DsopsError("no such folder", where=str(source))
    for name, file in walk(source):
        if "__pycache__" in file.parts:
            continue
        if file.suffix in {".bin", ".pt", ".pkl", ".pth"} and is_pickle(file):
            raise DsopsError(
                "pickle weights can run code and are refused", where=name, mend="convert them to safetensors"
            )
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        copyfile(file, out / name)


def is_pickle(file: Path) -> bool:
    """Whether a weights file is a pickle or a zip of one (torch.save); OpenVINO's raw .bin is neither."""
    with file.open("rb") as stream:
        head = stream.read(4)
    return head[:2] in {b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"} or head == b"PK\x03\x04"
