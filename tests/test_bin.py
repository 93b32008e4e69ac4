"""What bin/lib.sh does where PyTorch can be had, where it cannot, and where it takes too long."""

import shutil
import subprocess
from pathlib import Path

import pytest

LIB = Path(__file__).parents[1] / "bin/lib.sh"
ENSURE = '. "$0"; torch_seconds=$1; ensure_torch || echo "SKIPPED: $lack"'
# Stands for the venv's Python: notes what it is asked, then does what a test wants of pip and of the import.
PYTHON = """#!/bin/sh
echo "$*" >> "$(dirname "$0")/asked"
case "$*" in
*pip*) {pip} ;;
*) {start} ;;
esac
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with as much as ensure_torch looks at."""
    for name in ("bin", "locks", ".torch-venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(LIB, tmp_path / "bin/lib.sh")
    (tmp_path / "locks/kernels.lock").write_text("torch==1\n")
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


def ensure(root: Path, *, pip: str = ":", start: str = ":", seconds: float = 60) -> tuple[str, str]:
    """(output, errors) of one call."""
    python = root / ".torch-venv/bin/python"
    python.write_text(PYTHON.format(pip=pip, start=start))
    python.chmod(0o755)
    argv = ["sh", "-euc", ENSURE, str(root / "bin/lib.sh"), str(seconds)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=90)
    return done.stdout, done.stderr


def count_asked(root: Path) -> int:
    return len((root / ".torch-venv/bin/asked").read_text().splitlines())


def test_what_is_installed_is_installed_once_until_the_lock_changes(root: Path) -> None:
    assert "SKIPPED" not in ensure(root)[0]
    assert "--require-hashes" in (root / ".torch-venv/bin/asked").read_text()
    assert ensure(root) == ("", "")
    assert count_asked(root) == 2
    (root / "locks/kernels.lock").write_text("torch==2\n")
    ensure(root)
    assert count_asked(root) == 4


@pytest.mark.parametrize(
    ("pip", "start", "says"),
    [
        ("echo no such torch; exit 1", ":", "were not installed, see the lines above"),
        ("exec sleep 30", ":", "were not installed within 0.5 s"),
        (":", "echo no such torch >&2; exit 1", "do not start here, see the lines above"),
    ],
    ids=["refused", "slow", "broken"],
)
def test_where_it_cannot_be_had_the_reason_is_told_and_the_next_run_tries_again(
    root: Path, pip: str, start: str, says: str
) -> None:
    out, err = ensure(root, pip=pip, start=start, seconds=0.5 if "sleep" in pip else 60)
    assert f"SKIPPED: PyTorch and Triton-lang {says}" in out
    assert ("no such torch" in err) == ("lines above" in says)
    assert "SKIPPED" not in ensure(root)[0]
