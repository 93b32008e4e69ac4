"""A small but real release in a store, with golden prompts."""

import json
from hashlib import sha256
from pathlib import Path

from dsops.core.release import FileSum, Limits, Probe, Release

QUESTIONS = {"sum": ("12+30?", "42"), "double": ("2*21?", "42 again"), "capital": ("Lima?", "Peru")}

# Right whatever was asked.
ALWAYS = "yes"


def make_release(state: Path, *, load_seconds: int = 1, answer_seconds: int = 1, tokens: int = 8) -> str:
    """Writes releases/<id> with release.json and prompts.json; the id."""
    prompts = [{"id": k, "prompt": q, "accepted": [a, ALWAYS], "tokens": 8} for k, (q, a) in QUESTIONS.items()]
    files = {
        "prompts.json": json.dumps({"format": 1, "prompts": prompts}).encode(),
        "template.jinja": b"{{ messages[0].content }}",
    }
    release = Release(
        model="tiny",
        quantization="int8",
        engine="openvino",
        template="template.jinja",
        eos="<eos>",
        reasoning=None,
        limits=Limits(1024, 512, 16, 4),
        files={name: FileSum(len(data), sha256(data).hexdigest()) for name, data in files.items()},
        prompts="prompts.json",
        probe=Probe(load_seconds, answer_seconds, tokens),
    )
    folder = state / "releases" / release.id
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (files | {"release.json": release.render()}).items():
        (folder / name).write_bytes(data)
    return release.id
