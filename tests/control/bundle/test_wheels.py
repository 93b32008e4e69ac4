"""Wheels: never those of another lock, and our own one is the same twice and holds all that the code reads."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from dsops.control.bundle.wheels import build_own_wheel, copy_wheels, fetch_wheels
from dsops.core.errors import DsopsError

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "agent/dsops"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index that is a folder; pip is told so by its environment."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": folder.as_uri(), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def make_wheel(index: Path, name: str, version: str) -> Path:
    path, info = index / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def write_lock(lock: Path, *wheels: Path) -> Path:
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        done = subprocess.run(["sha256sum", wheel], capture_output=True, text=True, check=True)
        lines.append(f"{name}=={version} --hash=sha256:{done.stdout.split()[0]}\n")
    lock.write_text("".join(lines))
    return lock


def test_what_the_lock_names_is_fetched_once(index: Path, tmp_path: Path) -> None:
    lock = write_lock(tmp_path / "node.lock", make_wheel(index, "one", "1.0"), make_wheel(index, "two", "2.0"))
    cache = tmp_path / "cache"
    assert [w.name for w in fetch_wheels(lock, cache=cache)] == ["one-1.0-py3-none-any.whl", "two-2.0-py3-none-any.whl"]
    shutil.rmtree(index)  # the second time nothing is asked
    assert len(fetch_wheels(lock, cache=cache)) == 2


@pytest.mark.slow
def test_a_changed_lock_clears_the_old_wheels(index: Path, tmp_path: Path) -> None:
    one, two = make_wheel(index, "one", "1.0"), make_wheel(index, "one", "1.1")
    cache, lock = tmp_path / "cache", tmp_path / "node.lock"
    fetch_wheels(write_lock(lock, one), cache=cache)
    assert [w.name for w in fetch_wheels(write_lock(lock, two), cache=cache)] == [two.name]


@pytest.mark.slow
def test_a_failed_change_of_the_lock_and_back_fetches_again(index: Path, tmp_path: Path) -> None:
    one, two = make_wheel(index, "one", "1.0"), make_wheel(index, "two", "1.0")
    cache, lock = tmp_path / "cache", tmp_path / "node.lock"
    fetch_wheels(write_lock(lock, one), cache=cache)
    write_lock(lock, one, two)
    two.unlink()
    with pytest.raises(DsopsError) as caught:
        fetch_wheels(lock, cache=cache)
    assert "package index" in caught.value.mend
    assert [w.name for w in fetch_wheels(write_lock(lock, one), cache=cache)] == [one.name]


@pytest.mark.slow
@pytest.mark.parametrize("deed", ["lost", "changed", "added"])
def test_a_cache_that_somebody_touched_is_fetched_again(index: Path, tmp_path: Path, deed: str) -> None:
    wheel = make_wheel(index, "one", "1.0")
    cache, lock = tmp_path / "cache", write_lock(tmp_path / "node.lock", wheel)
    held = fetch_wheels(lock, cache=cache)[0]
    if deed == "lost":
        held.unlink()
    else:
        (held if deed == "changed" else held.with_name("evil-1.0-py3-none-any.whl")).write_bytes(b"evil")
    assert [w.name for w in fetch_wheels(lock, cache=cache)] == [wheel.name]
    assert held.read_bytes() == wheel.read_bytes()


def test_a_wheel_with_another_hash_is_refused(index: Path, tmp_path: Path) -> None:
    wheel = make_wheel(index, "one", "1.0")
    lock = write_lock(tmp_path / "node.lock", wheel)
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(DsopsError, match=r"(?s)DO NOT MATCH"):
        fetch_wheels(lock, cache=tmp_path / "cache")


def test_wheels_and_their_lock_lie_side_by_side(index: Path, tmp_path: Path) -> None:
    wheel = make_wheel(index, "one", "1.0")
    lock = write_lock(tmp_path / "node.lock", wheel)
    copy_wheels([wheel], lock=lock, out=tmp_path / "out/node")
    assert sorted(file.name for file in (tmp_path / "out/node").iterdir()) == [wheel.name, "requirements.txt"]
    assert (tmp_path / "out/node/requirements.txt").read_bytes() == lock.read_bytes()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wheel is made of, as it lies in a bundle: without git, and with what Python leaves behind."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "README.md", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(PACKAGE, root / "agent/dsops", ignore=shutil.ignore_patterns("*.pyc"))
    (root / "agent/dsops/core/__pycache__").mkdir(exist_ok=True)
    (root / "agent/dsops/core/__pycache__/sums.cpython-311.pyc").write_bytes(b"\x00")
    return root


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    return build_own_wheel(checkout, out=checkout / "build/one")


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_our_own_wheel_is_the_same_twice(checkout: Path, wheel: Path) -> None:
    for file in (checkout / "agent").rglob("*.py"):
        os.utime(file)  # another time of checkout
    again = build_own_wheel(checkout, out=checkout / "build/two")
    assert again.read_bytes() == wheel.read_bytes()


def test_our_own_wheel_holds_every_file_of_the_package_and_nothing_else(checkout: Path, wheel: Path) -> None:
    package = {
        "dsops/" + file.relative_to(checkout / "agent/dsops").as_posix()
        for file in (checkout / "agent/dsops").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in names(wheel) if ".dist-info/" not in name} == package
    assert {"dsops/control/bundle/VERIFY.sh", "dsops/lab/nvml/nvml.c", "dsops/lab/supervise.sh"} <= package


def read_strings(file: Path) -> set[str]:
    """The plain strings in a module that look like files: what it may read beside itself."""
    nodes = ast.walk(ast.parse(file.read_text()))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if 0 < len(text) < 60 and "\n" not in text and "." in text and " " not in text}


def test_what_the_code_reads_beside_itself_is_in_the_wheel(wheel: Path) -> None:
    held, read = names(wheel), set()
    for file in PACKAGE.rglob("*.py"):
        if "__file__" in file.read_text():
            for folder in (file.parent, *file.parents[: len(file.relative_to(PACKAGE).parts)]):
                for text in read_strings(file):
                    found = folder / text
                    if found.is_file() and found.is_relative_to(PACKAGE):
                        read.add("dsops/" + found.relative_to(PACKAGE).as_posix())
    assert "dsops/control/bundle/VERIFY.sh" in read
    assert read <= held


def test_the_installed_wheel_imports_and_finds_its_files(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import dsops, sys, pathlib; from dsops.control.bundle import build; import dsops.main;"
        "assert pathlib.Path(dsops.__file__).is_relative_to(sys.argv[1]); print((build.HERE / 'VERIFY.sh').read_text())"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    argv = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#!/bin/sh")


def test_an_old_wheel_of_ours_does_not_stay_beside_the_new(checkout: Path) -> None:
    out = checkout / "build/three"
    out.mkdir(parents=True)
    (out / "dsops-0.0.1-py3-none-any.whl").write_bytes(b"")
    assert [build_own_wheel(checkout, out=out)] == list(out.glob("*.whl"))
