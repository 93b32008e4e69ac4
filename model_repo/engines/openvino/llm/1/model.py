"""What Triton's Python backend loads: finds the engine package beside this file and hands it over."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from openvino_engine.backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
