"""Simulated GPUs: builds our libnvidia-ml.so.1 and writes the files that it answers from."""

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path

from dsops.core.errors import DsopsError
from dsops.lab.place import Lab, Server
from dsops.lab.run import read, run, write

SOURCE = Path(__file__).with_name("nvml") / "nvml.c"
LIBRARY = "libnvidia-ml.so.1"
INSIDE = "/run/dsops-lab-gpus"  # where a server sees the files; nvml.c's default
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fvisibility=hidden")
Value = str | int | float | None


def library_path() -> str:
    """The server's library folder, relative to its root, as Debian names it."""
    return f"usr/lib/{platform.machine()}-linux-gnu/{LIBRARY}"


def cache(lab: Lab) -> Path:
    return lab.root / "nvml"


def ensure_library(lab: Lab) -> bool:
    """Compile before the servers start, which all take it at once; whether it was compiled."""
    before = set(cache(lab).glob(f"*/{LIBRARY}"))
    return build(cache(lab)) not in before


def build(folder: Path, *, without: tuple[str, ...] = ()) -> Path:
    """Compile into folder/HASH, once. without: functions that are not exported, as in an older driver."""
    absent = [f"-D{name}=absent_{name}" for name in sorted(without)]
    what = SOURCE.read_bytes() + " ".join((*FLAGS, *absent)).encode()
    library = folder / hashlib.sha256(what).hexdigest()[:12] / LIBRARY
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        part = library.with_name(f"{LIBRARY}.part")
        run(["gcc", *FLAGS, *absent, f"-Wl,-soname,{LIBRARY}", "-o", part, SOURCE], where=str(SOURCE))
        part.replace(library)
    return library


def parse(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key: value for key, _, value in pairs}


def render(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in values.items())


def default_driver(server: Server) -> dict[str, str]:
    versions = {"driver_version": "570.86.15", "nvml_version": "12.570.86.15", "cuda_version": "12080"}
    return {"count": str(server.gpus), **versions}


def default_gpu(server: Server, index: int) -> dict[str, str]:
    """A healthy idle H100."""
    return {
        "name": "NVIDIA H100 80GB HBM3",
        "uuid": f"GPU-1ab00000-0000-4000-8000-{server.number:04x}{index:08x}",
        "pci_bus": str(0x10 + index),
        "temperature": str(34 + index),
        "memory_total": "85520809984",
        "memory_used": "0",
        "utilization_gpu": "0",
        "power": "70000",
        "ecc_corrected": "0",
        "ecc_uncorrected": "0",
        "xid_sequence": "0",
    }


def reset(folder: Path, server: Server) -> None:
    """All GPUs of a server healthy and idle."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("gpu*.conf"):
        stale.unlink()
    for index in range(server.gpus):
        write(folder / f"gpu{index}.conf", render(default_gpu(server, index)))
    write(folder / "driver.conf", render(default_driver(server)))


def change(folder: Path, which: int | str, values: Mapping[str, Value]) -> dict[str, str]:
    """Change keys of gpu N, or of "driver"; None removes one. Running processes see it on their next call."""
    path = folder / ("driver.conf" if which == "driver" else f"gpu{which}.conf")
    if not path.exists():
        raise DsopsError(f"there is no simulated {path.stem}", where=str(folder), mend="see `dsops lab status`")
    merged: dict[str, Value] = {**parse(read(path)), **values}
    kept = {key: str(value) for key, value in merged.items() if value is not None}
    write(path, render(kept))
    return kept


def raise_xid(folder: Path, index: int, xid: int) -> None:
    """Tell everyone who waits for events of this GPU about one more Xid."""
    sequence = int(parse(read(folder / f"gpu{index}.conf")).get("xid_sequence", "0"))
    change(folder, index, {"xid": xid, "xid_sequence": sequence + 1})


def count(folder: Path) -> int:
    return int(parse(read(folder / "driver.conf")).get("count", "0"))


def install(lab: Lab, server: Server) -> bool:
    """Put the library where the server's programs look for it; whether it was new there."""
    target = lab.home(server).root / library_path()
    library = build(cache(lab))
    if target.exists() and target.read_bytes() == library.read_bytes():
        return False
    part = target.with_name(f".{LIBRARY}.part")
    part.write_bytes(library.read_bytes())
    part.replace(target)
    return True
