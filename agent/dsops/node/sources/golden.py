"""Reads from a release on this node what it is to be asked, and what it may take."""

from dataclasses import dataclass
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.core.prompts import Prompt, parse_prompts
from dsops.core.release import Probe, parse_release

AGAIN = "push the release again"


@dataclass(frozen=True)
class Golden:
    """A release as its probes need it."""

    release: str
    model: str
    probe: Probe
    prompts: tuple[Prompt, ...]


def read_golden(folder: Path) -> Golden:
    """From a release's folder, whose name is its id. Raises DsopsError naming the file."""
    release = parse_release(_read(folder / "release.json"), where=str(folder / "release.json"))
    path = folder / release.prompts
    return Golden(folder.name, release.model, release.probe, parse_prompts(_read(path), where=str(path)))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DsopsError(f"cannot be read ({error.strerror})", where=str(path), mend=AGAIN) from error
