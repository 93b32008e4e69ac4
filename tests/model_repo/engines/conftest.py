"""Puts the engine's package where Triton puts it: beside model.py on the path."""

import sys

from tests.triton_server import ENGINE

sys.path.insert(0, str(ENGINE / "llm/1"))
