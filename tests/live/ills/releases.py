"""Builds and signs releases that are ill on purpose: the checkout's engine and model with this folder's `model.py`."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dsops.control.bundle.release import build_release
from dsops.control.bundle.sign import LAB_NAMESPACE, Signer

ROOT = Path(__file__).parents[3]
ENGINE = ROOT / "model_repo/engines/openvino"
CHECKPOINT = ROOT / "model_repo/checkpoints/tiny-r1"
WEIGHTS = "openvino-int8/openvino_model.bin"
TENSOR = re.compile(r'element_type="[iu]8" .*?offset="(\d+)" size="(\d+)"')
SECRETS = Path("/var/lib/dsops-lab/secrets")
EVERY = 16  # one byte of so many is spoilt
BIG = 10_000  # bytes; what is smaller are no weights


@dataclass(frozen=True)
class Ill:
    """What is wrong with a release.

    settings: see model.py; probe: in place of the profile's own; files: lie beside the weights, by name.
    """

    name: str
    settings: Mapping[str, int] = field(default_factory=dict)
    probe: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    corrupt: bool = False


def build_ill(ill: Ill, *, folder: Path, signer: Signer | None) -> Path:
    """The folder of the finished release below `folder`. signer: as of a bundle; None: it stays unsigned."""
    root, checkpoint = folder / ill.name / "root", folder / ill.name / "checkpoint"
    shutil.copytree(ENGINE, root / "model_repo/engines/openvino", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).with_name("model.py"), root / "model_repo/engines/openvino/llm/1/model.py")
    ignore = shutil.ignore_patterns("hf", "problems", "*.py")
    shutil.copytree(CHECKPOINT, checkpoint, copy_function=os.link, ignore=ignore)
    if ill.corrupt:
        corrupt(checkpoint / WEIGHTS)
    for name, content in ill.files.items():
        (checkpoint / WEIGHTS).with_name(name).write_bytes(content)
    write_profile(checkpoint / "release.toml", ill)
    out = folder / "releases"
    return out / build_release(checkpoint / "release.toml", root=root, out=out, signer=signer).id


def write_profile(profile: Path, ill: Ill) -> None:
    """The checkpoint's own profile, with these settings and limits of the probe."""
    text = profile.read_text()
    for key, value in ill.probe.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in text.splitlines()]
        text = "\n".join(lines) + "\n"
    more = "".join(f"{key} = {value}\n" for key, value in {**ill.settings, "ill_" + number(ill.name): 1}.items())
    profile.unlink()  # it is one file with the checkout's until here
    profile.write_text(text.replace("[settings]\n", f"[settings]\n{more}"))


def number(name: str) -> str:
    """A name as a setting's: two ills with the same settings are two releases."""
    return name.replace("-", "_")


def corrupt(weights: Path) -> None:
    """Flips bytes all over the weights, as a disk or a cable does that nobody checks. It still loads."""
    content = bytearray(weights.read_bytes())
    tensors = TENSOR.findall(weights.with_suffix(".xml").read_text())
    for place in ((int(offset), int(offset) + int(size)) for offset, size in tensors if int(size) > BIG):
        part = slice(*place, EVERY)
        content[part] = bytes(byte ^ 0xFF for byte in content[part])
    weights.unlink()  # it is one file with the checkout's until here
    weights.write_bytes(content)


def find_lab_signer() -> Signer:
    """The lab's key."""
    return Signer(SECRETS / "bundle_ed25519", "dsops-lab", LAB_NAMESPACE)
