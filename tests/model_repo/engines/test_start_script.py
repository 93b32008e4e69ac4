"""The start script gives Triton the slot's ports, the closed interfaces and the engine's Python."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.triton_server import START

SERVER = '#!/bin/sh\nfor word in "$@"; do echo "$word"; done\nenv\n'


def lay_out(root: Path, *, python: str = "3.11") -> dict[str, str]:
    """A Triton that prints what it is given, and an engine whose Python says its version."""
    files = {
        "triton/bin/tritonserver": SERVER,
        "triton/backends/python/libtriton_python.so": "",
        "triton/backends/python/triton_python_backend_utils.py": "",
        "triton/backends/python/triton_python_backend_stub": "for 3.11",
        "triton/backends/python/stubs/3.12/triton_python_backend_stub": "for 3.12",
        "venv/bin/python": f"#!/bin/sh\nprintf '%s\\n' {python} /py/lib '/py/site packages'\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    (root / "models").mkdir()
    return {
        "DSOPS_TRITON": str(root / "triton"),
        "DSOPS_ENGINE_VENV": str(root / "venv"),
        "DSOPS_MODELS": str(root / "models"),
        "CACHE_DIRECTORY": str(root / "cache"),
    }


def start(env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    whole = {"PATH": os.environ["PATH"], **env}
    return subprocess.run(["sh", START, *words], env=whole, capture_output=True, text=True, timeout=20)


def read_words(env: dict[str, str], slot: str) -> list[str]:
    done = start(env, slot)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("slot", "first"), [("a", 8100), ("b", 8200)])
def test_each_slot_listens_on_its_own_loopback_ports(tmp_path: Path, slot: str, first: int) -> None:
    words = read_words(lay_out(tmp_path), slot)
    for offset, door in enumerate(("http", "grpc", "metrics")):
        assert f"--{door}-address=127.0.0.1" in words
        assert f"--{door}-port={first + offset}" in words


def test_one_process_serves_one_release_and_never_reloads_it(tmp_path: Path) -> None:
    words = read_words(lay_out(tmp_path), "a")
    wanted = {
        "--model-control-mode=none",
        "--exit-on-error=true",
        "--strict-readiness=true",
        "--allow-gpu-metrics=false",
    }
    assert wanted < set(words)
    assert f"--model-repository={tmp_path}/models" in words


def test_dangerous_interfaces_are_closed_behind_a_value_of_this_start(tmp_path: Path) -> None:
    env = lay_out(tmp_path)
    seen = [[word for word in read_words(env, "a") if "restricted" in word] for _ in range(2)]
    assert len(seen[0]) == 2
    assert seen[0] != seen[1]
    for word in seen[0]:
        _, apis, value = word.replace("=", ":", 1).split(":")
        assert set(apis.split(",")) == {"shared-memory", "model-repository", "trace", "logging"}
        assert len(value.partition("=")[2]) == 48


def test_the_stub_finds_the_engines_python(tmp_path: Path) -> None:
    words = read_words(lay_out(tmp_path), "a")
    assert f"LD_LIBRARY_PATH={tmp_path}/triton/lib:/py/lib" in words
    assert "PYTHONPATH=/py/site packages" in words


@pytest.mark.parametrize("python", ["3.11", "3.12"])
def test_triton_gets_a_stub_of_its_own_that_fits_the_engines_python(tmp_path: Path, python: str) -> None:
    env = lay_out(tmp_path, python=python)
    for _ in range(2):  # the second start finds the folder of the first
        assert f"--backend-directory={tmp_path}/cache/backends" in read_words(env, "a")
    folder = tmp_path / "cache/backends/python"
    assert (folder / "triton_python_backend_stub").read_text() == f"for {python}"
    assert (folder / "libtriton_python.so").exists()
    assert (folder / "triton_python_backend_utils.py").exists()


@pytest.mark.parametrize(
    ("gone", "slot", "message"),
    [
        ("", "c", "usage: dsops-triton a|b"),
        ("triton/bin/tritonserver", "a", "no Triton runtime"),
        ("venv/bin/python", "a", "no engine"),
        ("models", "b", "slot b has no release"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, gone: str, slot: str, message: str) -> None:
    env = lay_out(tmp_path)
    if gone:
        (tmp_path / gone).rename(tmp_path / "gone")
    done = start(env, slot)
    assert (done.returncode, message in done.stderr) == (64, True)


def test_a_python_without_a_stub_is_refused(tmp_path: Path) -> None:
    done = start(lay_out(tmp_path, python="3.14"), "a")
    assert "no stub for Python 3.14" in done.stderr
