"""What surrounds a release and is no part of it, summed up: kernel, GPU driver, Triton, the engine's packages, units.

A release that was good for a day and then fails after one of these changed is not to blame (R14).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

DIGITS = 12
# Files whose content counts, and folders whose names of packages do. One that is not there counts as that.
FILES = (
    "proc/sys/kernel/osrelease",
    "sys/module/nvidia/version",
    "opt/dsops/bin/dsops-triton",
    "opt/dsops/triton/bin/tritonserver",
    "etc/systemd/system/triton@.service",
)
DROP_INS = "etc/systemd/system/triton@*.service.d/*.conf"
PACKAGES = "opt/dsops/engines/*/venv/lib/python3*/site-packages/*.dist-info"


def read_environment(root: Path = Path("/")) -> str:
    """So many digits of a hash. Only one process should be asked: what another may not read would be another hash."""
    return hashlib.sha256("\n".join(_tell_parts(root)).encode()).hexdigest()[:DIGITS]


def _tell_parts(root: Path) -> Iterator[str]:
    for path in (*(root / name for name in FILES), *sorted(root.glob(DROP_INS))):
        yield f"{path.relative_to(root)} {_sum(path)}"
    yield from sorted(str(path.relative_to(root)) for path in root.glob(PACKAGES))


def _sum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return type(error).__name__
