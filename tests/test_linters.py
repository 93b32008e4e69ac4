"""The linters are tests, so that `bin/test` is the only gate."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = ["agent", "deploy", "roles", "inventory", "kernels", "model_repo", "tests"]


def run(*argv: str) -> None:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-6000:]}{done.stderr[-2000:]}"


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def shell_scripts() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [ROOT / name for name in listed.stdout.splitlines()]
    return [str(f) for f in files if f.is_file() and f.suffix in {"", ".sh"} and is_shell(f)]


def is_shell(file: Path) -> bool:
    with file.open("rb") as stream:
        first = stream.readline(80)
    return first.startswith(b"#!") and (b"sh\n" in first or b"bash" in first)


def test_ruff_finds_nothing() -> None:
    run(tool("ruff"), "check", *PYTHON)


def test_every_python_file_has_the_houses_form() -> None:
    run(tool("ruff"), "format", "--check", *PYTHON)


def test_mypy_strict_finds_nothing() -> None:
    run(tool("mypy"), "agent", "deploy", "roles", "inventory/lab.py", "inventory/example.py")


def test_shellcheck_finds_nothing() -> None:
    scripts = shell_scripts()
    assert len(scripts) > 3
    run(tool("shellcheck"), "--external-sources", f"--source-path={ROOT}", *scripts)
    # Sourced by bin/demo and bin/test, which use what it sets.
    run(tool("shellcheck"), "--shell=sh", "--exclude=SC2034", str(ROOT / "bin/lib.sh"))


def test_locks_name_no_address() -> None:
    for lock in (ROOT / "locks").glob("*.lock"):
        text = lock.read_text()
        assert "://" not in text, lock
        assert "--hash=sha256:" in text, lock


def test_nothing_in_git_is_too_big() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True, env=os.environ)
    big = [
        name
        for name in listed.stdout.splitlines()
        if (ROOT / name).is_file() and (ROOT / name).stat().st_size > 12 << 20
    ]
    assert not big
