"""Programs that a measurement starts, for tests: a burn-in that says what it is told, and readers of GPUs that fail."""

import json
import sys
from pathlib import Path
from typing import Any

FIGURES = {
    "memory_walked": 78.2,
    "memory_passes": 72.0,
    "memory_write": 3139.0,
    "memory_read": 2954.0,
    "copy_256": 2778.0,
    "copy_1024": 2946.0,
    "triad_256": 2494.0,
    "triad_4096": 3008.0,
    "host_to_device": 54.4,
    "device_to_host": 54.7,
    "product": 728.0,
    "product_slowest": 574.0,
    "products": 1670.0,
    "abft_share": 2.4,
    "fp8": 1200.0,
}
PARTS = ("memory", "copy", "triad", "host", "product", "repeat", "fp8")


def make_burnt(index: int = 0, *, count: int = 2, **changes: Any) -> dict[str, Any]:
    """One GPU's report, as `python -m dskernels.burn_in` tells it."""
    figures = [{"name": name, "value": value, "unit": "", "peer": None} for name, value in FIGURES.items()]
    done = list(PARTS)
    for peer in range(count):
        if peer != index:
            figures.append({"name": "peer_copy", "value": 394.0, "unit": "GB/s", "peer": peer})
            done.append("peer")
    if count > 1 and index == 0:
        figures.append({"name": "all_reduce", "value": 329.0, "unit": "GB/s", "peer": None})
        done.append("all-reduce")
    made = {"gpu": index, "name": "NVIDIA H100", "seconds": 15.2, "uuid": f"{index}", "figures": figures}
    return made | {"problems": [], "skips": [], "done": done} | changes


def make_said(*gpus: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """All of it."""
    return {"why": "", "is_broken": False, "torch": "2.11.0", "cuda": "13.0", "gpus": list(gpus)} | changes


def write_kernels(folder: Path, *, does: str) -> Path:
    """A dskernels whose burn-in does this."""
    path = folder / "dskernels/burn_in"
    path.mkdir(parents=True)
    (folder / "dskernels/__init__.py").write_text("")
    (path / "__init__.py").write_text("")
    (path / "__main__.py").write_text(does)
    return folder / "dskernels"


def write_saying(folder: Path, said: dict[str, Any]) -> Path:
    """One that says this."""
    return write_kernels(folder, does=f"print('a line of something else')\nprint({json.dumps(said)!r})\n")


def make_reader(*lines: object, then: str = "") -> tuple[str, ...]:
    """A reader of GPUs that says these lines, and then does something."""
    told = "".join(f"print({(one if isinstance(one, str) else json.dumps(one))!r}, flush=True)\n" for one in lines)
    return (sys.executable, "-c", f"import sys, time\n{told}{then}")
