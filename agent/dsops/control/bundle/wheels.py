"""Collects Python wheels by a lock file with hashes, for the servers' Python and not for this machine's."""

import sys
from pathlib import Path
from shutil import copyfile

from dsops.control.run import run

PLATFORMS = ["manylinux_2_36_x86_64", "manylinux_2_35_x86_64", "manylinux_2_34_x86_64"]
PLATFORMS += ["manylinux_2_31_x86_64", "manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64"]
PLATFORMS += ["manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]


def fetch_wheels(lock: Path, *, cache: Path, python: str = "3.11") -> list[Path]:
    """Downloads what the lock names (wheels only, every hash checked) into `cache`; returns the files, sorted."""
    out = cache / lock.stem
    out.mkdir(parents=True, exist_ok=True)
    target = ["--python-version", python, "--implementation", "cp", *[f"--platform={name}" for name in PLATFORMS]]
    words = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    stamp = out / ".lock"
    if not stamp.exists() or stamp.read_text() != lock.read_text():
        for old in out.glob("*.whl"):
            old.unlink()
        mend = "is the machine's package index reachable (pip config list)?"
        run([*words, *target, "-d", out, "-r", lock], timeout=1200, mend=mend)
        stamp.write_text(lock.read_text())
    return sorted(out.glob("*.whl"))


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
