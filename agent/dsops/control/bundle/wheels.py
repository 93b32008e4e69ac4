"""Collects Python wheels by a lock file with hashes, for the servers' Python and not for this machine's."""

import sys
from pathlib import Path
from shutil import copyfile

from dsops.control.bundle.verify import hash_file
from dsops.control.run import run
from dsops.core.sums import make_sums

PLATFORMS = ["manylinux_2_36_x86_64", "manylinux_2_35_x86_64", "manylinux_2_34_x86_64"]
PLATFORMS += ["manylinux_2_31_x86_64", "manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64"]
PLATFORMS += ["manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]


def fetch_wheels(lock: Path, *, cache: Path, python: str = "3.11") -> list[Path]:
    """Downloads what the lock names (wheels only, every hash checked) into `cache`; returns the files, sorted."""
    out = cache / f"{lock.stem}-{python}"
    out.mkdir(parents=True, exist_ok=True)
    target = ["--python-version", python, "--implementation", "cp", *[f"--platform={name}" for name in PLATFORMS]]
    words = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    stamp = out / ".lock"
    if not _is_complete(out, lock=lock, stamp=stamp):
        stamp.unlink(missing_ok=True)  # first: a download that is cut short must not look like a whole one
        for old in out.glob("*.whl"):
            old.unlink()
        mend = "is the machine's package index reachable (pip config list)?"
        run([*words, *target, "-d", out, "-r", lock], timeout=1200, mend=mend)
        stamp.write_text(_render_stamp(out, lock))
    return sorted(out.glob("*.whl"))


def _is_complete(out: Path, *, lock: Path, stamp: Path) -> bool:
    """Whether the wheels are still those that pip proved against this lock."""
    return stamp.is_file() and stamp.read_text() == _render_stamp(out, lock)


def _render_stamp(out: Path, lock: Path) -> str:
    wheels = make_sums((wheel.name, hash_file(wheel)) for wheel in out.glob("*.whl"))
    return f"{hash_file(lock)}\n{wheels.render()}"


def copy_wheels(wheels: list[Path], *, lock: Path | None, out: Path) -> None:
    """Puts the wheels and their lock side by side, ready for `pip install --no-index --require-hashes`."""
    out.mkdir(parents=True)
    for wheel in wheels:
        copyfile(wheel, out / wheel.name)
    if lock:
        copyfile(lock, out / "requirements.txt")


def build_own_wheel(root: Path, *, out: Path) -> Path:
    """Builds the dsops wheel of the checkout at `root` (same sources, same bytes) and returns it."""
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.whl"):
        old.unlink()
    words: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out]
    run(words, cwd=root, timeout=120, env={"SOURCE_DATE_EPOCH": "1577836800"}, mend="pip install -r locks/control.lock")
    return next(out.glob("dsops-*.whl"))
