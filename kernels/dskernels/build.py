"""Builds the kernels written in CUDA C++: by nvcc, once, kept by the hash of what they are made of.

Needs no PyTorch. A node without a compiler gets them prebuilt: `python -m dskernels.build FOLDER` on a machine that
has nvcc, and `DSKERNELS_CUBINS=FOLDER` where they are used; with kernels/dskernels/prebuilt as the folder, they travel
in dsops' wheel. A source named NAME.TARGET.cu is for that target alone.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from dskernels.errors import KernelError

HERE = Path(__file__).parent
SECONDS = 300
TARGETS = ("sm_80", "sm_90", "sm_90a")


def find_target(source: Path) -> str | None:
    """The only target that a source is for, by its name; None when it is for all."""
    return source.stem.partition(".")[2] or None


def list_builds(targets: Sequence[str] = TARGETS) -> list[tuple[Path, str]]:
    """Every source with every target it is for. Targets that end in a letter are for sources that name them."""
    pairs = [(source, target) for source in sorted(HERE.glob("*/*.cu")) for target in targets]
    return [(source, target) for source, target in pairs if _is_for(source, target)]


def _is_for(source: Path, target: str) -> bool:
    only = find_target(source)
    return target == only if only else target[-1].isdigit()


def get_cubin(source: Path, *, target: str) -> bytes:
    """Prebuilt, built earlier, or built now. Raises KernelError."""
    path = _find_cubin(source, target=target) or build(source, target=target, folder=_list_folders()[-1])
    return path.read_bytes()


@cache
def can_get(source: Path, *, target: str) -> bool:
    """Whether there is one, or a compiler. Asked once a process."""
    return _find_cubin(source, target=target) is not None or shutil.which("nvcc") is not None


def _find_cubin(source: Path, *, target: str) -> Path | None:
    paths = [folder / _name_cubin(source, target=target) for folder in _list_folders()]
    return next((path for path in paths if path.is_file()), None)


def _list_folders() -> list[Path]:
    """What was prebuilt, if anything was, what came along with this package, and last the cache."""
    prebuilt = os.environ.get("DSKERNELS_CUBINS")
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [*([Path(prebuilt)] if prebuilt else []), HERE / "prebuilt", cache_home / "dskernels"]


def build(source: Path, *, target: str, folder: Path) -> Path:
    """Compiles into the folder; whole or not at all. Raises KernelError with the compiler's words."""
    compiler = shutil.which("nvcc")
    if compiler is None:
        what = f"{source.name} is not built for {target} and there is no nvcc here"
        raise KernelError(f"{what}; build it elsewhere (`python -m dskernels.build FOLDER`) and set DSKERNELS_CUBINS")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _name_cubin(source, target=target)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        new = Path(scratch) / path.name
        argv = [compiler, *list_arguments(source, target=target), "-o", str(new)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode:
            raise KernelError(f"nvcc refuses {source.name}: {done.stderr.strip()[-2000:]}")
        new.rename(path)
    return path


def list_arguments(source: Path, *, target: str) -> list[str]:
    """What nvcc is told, but for where to write."""
    architecture = f"-gencode=arch={target.replace('sm', 'compute')},code={target}"
    return ["-cubin", architecture, "-O3", "-std=c++17", str(source)]


def _name_cubin(source: Path, *, target: str) -> str:
    parts = [source, *sorted(HERE.glob("*.cuh"))]
    content = hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:16]
    return f"{source.parent.name}-{source.name.partition('.')[0]}-{target}-{content}.cubin"


def main() -> None:
    """Builds all of them for the targets of `DSKERNELS_TARGETS` (default sm_80 sm_90 sm_90a) into the folder."""
    targets = os.environ.get("DSKERNELS_TARGETS", "").split() or TARGETS
    for source, target in list_builds(targets):
        print(build(source, target=target, folder=Path(sys.argv[1])))


if __name__ == "__main__":
    main()
