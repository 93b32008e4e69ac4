"""Makes the scripts of tiny-r1 importable: its folder has a hyphen, so it is no package."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[3] / "model_repo" / "checkpoints" / "tiny-r1"
sys.path.insert(0, str(FOLDER))


@pytest.fixture(scope="session")
def folder() -> Path:
    return FOLDER


@pytest.fixture(scope="session")
def tokenizer(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "hf/tokenizer.json").read_text(encoding="utf-8"))
    return content
