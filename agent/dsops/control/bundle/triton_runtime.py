"""Lays out the servers' Triton runtime from the nvidia_pytriton wheel: server, libraries, Python backend.

The wheel carries a complete `tritonserver` with stubs of the Python backend for six Pythons, and a client
library. What is written is a function of the wheel's bytes alone: fixed names, modes and times.
"""

import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dsops.core.errors import DsopsError

SERVER = "pytriton/tritonserver/bin/tritonserver"
BACKEND = "pytriton/tritonserver/backends/python"
STUBS = "pytriton/tritonserver/python_backend_stubs"
STUB = "triton_python_backend_stub"
LIBRARIES = "nvidia_pytriton.libs/"
LICENSE = "/licenses/LICENSE"

DEFAULT_PYTHON = "3.11"  # Debian 12; its stub lies where Triton looks
OTHER_PYTHONS = ("3.10", "3.12")  # Ubuntu 22.04 and 24.04; the start script picks them by the engine's Python
SKIPPED_LIBRARIES = ("libpython3",)  # 32 MB that only the stub for 3.13 loads, and that stub is left out
EPOCH_S = 315532800  # 1980-01-01, the zero of zip: every file's time, so that a wheel always gives one tree


@dataclass(frozen=True)
class Member:
    """One file of the runtime: where it lies in the wheel and where it goes."""

    source: str
    target: PurePosixPath
    executable: bool


def build_triton_runtime(wheel: Path, out: Path) -> None:
    """Write the runtime into `out` (missing or empty); raises DsopsError if the wheel lacks a part."""
    _check_out(out)
    with _open_wheel(wheel) as archive:
        members = list(_plan_members(archive.namelist(), wheel))
        for member in members:
            _write_member(archive, member, out=out, wheel=wheel)
    _fix_directories(out)


def _check_out(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DsopsError("the runtime's directory is not empty", where=str(out), mend=f"rm -r {out}")


def _open_wheel(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except FileNotFoundError:
        raise DsopsError("the Triton wheel is missing", where=str(wheel), mend=_DOWNLOAD) from None
    except (zipfile.BadZipFile, OSError) as error:
        raise DsopsError(f"the Triton wheel cannot be read: {error}", where=str(wheel), mend=_DOWNLOAD) from error


_DOWNLOAD = "pip download --no-deps --require-hashes -r locks/triton.lock"


def _plan_members(names: list[str], wheel: Path) -> Iterator[Member]:
    have = set(names)
    for member in _fixed_members():
        if member.source not in have:
            raise DsopsError(f"the wheel lacks {member.source}", where=str(wheel), mend=_DOWNLOAD)
        yield member
    libraries = sorted(name for name in have if _is_wanted_library(name))
    if not any("libtritonserver" in name for name in libraries):
        raise DsopsError(f"the wheel lacks {LIBRARIES}libtritonserver*.so", where=str(wheel), mend=_DOWNLOAD)
    for name in libraries:
        yield Member(name, PurePosixPath("lib", PurePosixPath(name).name), executable=False)
    for name in sorted(name for name in have if name.endswith(LICENSE)):
        yield Member(name, PurePosixPath("LICENSE"), executable=False)


def _fixed_members() -> Iterator[Member]:
    backend = PurePosixPath("backends/python")
    yield Member(SERVER, PurePosixPath("bin/tritonserver"), executable=True)
    yield Member(f"{BACKEND}/libtriton_python.so", backend / "libtriton_python.so", executable=False)
    utils = "triton_python_backend_utils.py"
    yield Member(f"{BACKEND}/{utils}", backend / utils, executable=False)
    yield Member(f"{STUBS}/{DEFAULT_PYTHON}/{STUB}", backend / STUB, executable=True)
    for python in OTHER_PYTHONS:
        yield Member(f"{STUBS}/{python}/{STUB}", backend / "stubs" / python / STUB, executable=True)


def _is_wanted_library(name: str) -> bool:
    base = name.removeprefix(LIBRARIES)
    if base == name or not base or "/" in base:
        return False
    return not base.startswith(SKIPPED_LIBRARIES)


def _write_member(archive: zipfile.ZipFile, member: Member, *, out: Path, wheel: Path) -> None:
    target = out / member.target
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(member.source) as source, target.open("xb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except zipfile.BadZipFile as error:  # a member's checksum
        raise DsopsError(f"the wheel is damaged: {error}", where=str(wheel), mend=_DOWNLOAD) from error
    target.chmod(0o755 if member.executable else 0o644)
    os.utime(target, (EPOCH_S, EPOCH_S))


def _fix_directories(out: Path) -> None:
    for folder in [out, *(path for path in out.rglob("*") if path.is_dir())]:
        folder.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    for folder in [*(path for path in out.rglob("*") if path.is_dir()), out]:
        os.utime(folder, (EPOCH_S, EPOCH_S))
