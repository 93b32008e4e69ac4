"""The Triton runtime is a function of the wheel: the needed members, fixed modes and times, nothing else."""

import os
import subprocess
import zipfile
from pathlib import Path

import pytest
from dsops.control.bundle.triton_runtime import build_triton_runtime
from dsops.core.errors import DsopsError

from tests.triton_server import ensure_runtime

STUB = "triton_python_backend_stub"
WANTED = {
    "pytriton/tritonserver/bin/tritonserver": "bin/tritonserver",
    "pytriton/tritonserver/backends/python/libtriton_python.so": "backends/python/libtriton_python.so",
    "pytriton/tritonserver/backends/python/triton_python_backend_utils.py": (
        "backends/python/triton_python_backend_utils.py"
    ),
    f"pytriton/tritonserver/python_backend_stubs/3.11/{STUB}": f"backends/python/{STUB}",
    f"pytriton/tritonserver/python_backend_stubs/3.10/{STUB}": f"backends/python/stubs/3.10/{STUB}",
    f"pytriton/tritonserver/python_backend_stubs/3.12/{STUB}": f"backends/python/stubs/3.12/{STUB}",
    "nvidia_pytriton.libs/libtritonserver-717102f0.so": "lib/libtritonserver-717102f0.so",
    "nvidia_pytriton.libs/libb64-98cb6333.so.0d": "lib/libb64-98cb6333.so.0d",
    "nvidia_pytriton-0.7.0.dist-info/licenses/LICENSE": "LICENSE",
}
UNWANTED = (
    "pytriton/__init__.py",
    "pytriton/tritonserver/caches/local/libtritoncache_local.so",
    f"pytriton/tritonserver/python_backend_stubs/3.8/{STUB}",
    f"pytriton/tritonserver/python_backend_stubs/3.13/{STUB}",
    "nvidia_pytriton.libs/libpython3-419a3a08.13.so.1.0",
    "nvidia_pytriton.libs/sub/liba.so",
)


def write_wheel(path: Path, *, without: str = "", names: tuple[str, ...] = (*WANTED, *UNWANTED)) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            if name != without:
                archive.writestr(name, f"content of {name}\n" * 3)
    return path


def read_tree(root: Path) -> dict[str, tuple[int, int, bytes]]:
    return {
        str(path.relative_to(root)): (
            path.stat().st_mode & 0o7777,
            int(path.stat().st_mtime),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in root.rglob("*")
    }


def test_the_runtime_has_the_needed_members_and_nothing_else(tmp_path: Path) -> None:
    build_triton_runtime(write_wheel(tmp_path / "a.whl"), tmp_path / "out")
    files = {name: data for name, (_, _, data) in read_tree(tmp_path / "out").items() if data}
    assert files == {target: f"content of {name}\n".encode() * 3 for name, target in WANTED.items()}


def test_only_programs_are_executable(tmp_path: Path) -> None:
    build_triton_runtime(write_wheel(tmp_path / "a.whl"), tmp_path / "out")
    modes = {name: mode for name, (mode, _, data) in read_tree(tmp_path / "out").items() if data}
    assert {name for name, mode in modes.items() if mode == 0o755} == {
        target for target in WANTED.values() if target.endswith((STUB, "bin/tritonserver"))
    }
    assert set(modes.values()) == {0o755, 0o644}


def test_the_same_wheel_gives_the_same_tree_whatever_the_umask_and_order(tmp_path: Path) -> None:
    build_triton_runtime(write_wheel(tmp_path / "a.whl"), tmp_path / "one")
    turned = write_wheel(tmp_path / "b.whl", names=tuple(reversed([*WANTED, *UNWANTED])))
    old = os.umask(0o077)
    try:
        build_triton_runtime(turned, tmp_path / "two")
    finally:
        os.umask(old)
    assert read_tree(tmp_path / "one") == read_tree(tmp_path / "two")


@pytest.mark.parametrize("missing", [name for name in WANTED if "libb64" not in name and "LICENSE" not in name])
def test_a_wheel_without_a_needed_member_is_refused_by_name(tmp_path: Path, missing: str) -> None:
    wheel = write_wheel(tmp_path / "a.whl", without=missing)
    with pytest.raises(DsopsError, match="the wheel lacks") as caught:
        build_triton_runtime(wheel, tmp_path / "out")
    assert caught.value.where == str(wheel)
    assert caught.value.mend
    assert not (tmp_path / "out").exists()


def test_a_damaged_wheel_is_refused(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "a.whl")
    with zipfile.ZipFile(wheel) as archive:
        at = archive.getinfo("pytriton/tritonserver/bin/tritonserver").header_offset
    data = bytearray(wheel.read_bytes())
    data[at + 75] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises(DsopsError, match="damaged"):
        build_triton_runtime(wheel, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"not a wheel"])
def test_what_is_not_a_wheel_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.whl").write_bytes(content)
    with pytest.raises(DsopsError, match="cannot be read"):
        build_triton_runtime(tmp_path / "a.whl", tmp_path / "out")


def test_a_missing_wheel_is_refused_with_the_command_that_gets_it(tmp_path: Path) -> None:
    with pytest.raises(DsopsError, match="missing") as caught:
        build_triton_runtime(tmp_path / "a.whl", tmp_path / "out")
    assert caught.value.mend.startswith("pip download")


def test_a_directory_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    with pytest.raises(DsopsError, match="not empty"):
        build_triton_runtime(write_wheel(tmp_path / "a.whl"), tmp_path / "out")


@pytest.mark.triton
def test_the_real_wheel_gives_a_server_that_runs(tmp_path: Path) -> None:
    runtime = ensure_runtime()
    done = subprocess.run(
        [runtime / "bin/tritonserver", "--help"],
        env={"LD_LIBRARY_PATH": str(runtime / "lib")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Usage: tritonserver" in done.stdout + done.stderr
