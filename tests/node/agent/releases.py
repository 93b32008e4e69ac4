"""A small but real release in a store, with golden prompts."""

import json
from hashlib import sha256
from pathlib import Path

from dsops.core.release import FileSum, Limits, Probe, Release

QUESTIONS = {"sum": ("12+30?", "42"), "double": ("2*21?", "42 again"), "capital": ("Lima?", "Peru")}

# Right whatever was asked.
ALWAYS = "yes"


def make_release(state: Path, *, load_seconds: int = 1, answer_seconds: int = 1, tokens: int = 8) -> str:
    """Writes releases/<id> as a store has it, its files hard links to blobs; the id."""
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
    (state / "blobs").mkdir(exist_ok=True)
    for name, data in files.items():
        blob = state / "blobs" / sha256(data).hexdigest()
        if not blob.exists():
            write_read_only(blob, data)
        (folder / name).unlink(missing_ok=True)
        (folder / name).hardlink_to(blob)
    for name, data in (("release.json", release.render()), ("release.json.sig", b"not asked for here")):
        write_read_only(folder / name, data)
    return release.id


def write_read_only(path: Path, data: bytes) -> None:
    """As the helper leaves it."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    path.chmod(0o444)
