"""The rooms' one rule: a folder says where its code runs, and imports go one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# room -> what it must not import. A prefix counts for all below it.
FORBIDDEN = {
    "agent/dsops/core": ("dsops.node", "dsops.control", "dsops.lab", "dsops.main", "pyinfra", "roles", "deploy"),
    "agent/dsops/node": ("dsops.control", "dsops.lab", "pyinfra", "roles", "deploy", "fabric", "paramiko", "rich"),
    "agent/dsops/control": ("dsops.node", "dsops.lab", "pyinfra", "roles", "deploy"),
    "agent/dsops/lab": ("pyinfra", "roles", "deploy"),
    "agent/dsops/main.py": ("dsops.node", "dsops.control", "dsops.lab", "pyinfra", "roles", "deploy"),
    "roles": ("dsops.node", "dsops.control", "dsops.lab", "dsops.main", "deploy", "tests"),
    "deploy": ("dsops.node", "dsops.control", "dsops.lab", "dsops.main", "tests"),
    "model_repo": ("dsops", "roles", "deploy", "pyinfra"),
    "kernels": ("dsops", "roles", "deploy", "pyinfra", "tests"),
}
# core is pure: it decides, it does not touch.
TOUCHING = ("os", "subprocess", "socket", "pathlib", "shutil", "tempfile", "time", "asyncio", "threading", "logging")


def imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(room: str) -> list[Path]:
    path = ROOT / room
    return [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))


def offenders(room: str, forbidden: tuple[str, ...], *, skip: tuple[str, ...] = ()) -> list[str]:
    found = []
    for file in files(room):
        if file.name in skip:
            continue
        for name in imports(file):
            if any(name == bad or name.startswith(f"{bad}.") for bad in forbidden):
                found.append(f"{file.relative_to(ROOT)} imports {name}")
    return found


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_go_one_way(room: str) -> None:
    assert files(room)
    # These run in pytest on the control host, beside the command; they may read its inventory.
    skip = ("verify.py", "conftest.py", "proofs.py") if room == "roles" else ()
    assert not offenders(room, FORBIDDEN[room], skip=skip)


def test_nothing_but_the_command_imports_the_lab() -> None:
    rooms = ("agent/dsops/core", "agent/dsops/node", "agent/dsops/control", "roles", "deploy", "model_repo")
    assert not [text for room in rooms for text in offenders(room, ("dsops.lab",))]


def test_core_is_pure() -> None:
    assert not offenders("agent/dsops/core", TOUCHING)


def test_no_top_level_folder_is_a_package() -> None:
    # Hugging Face ships a top-level `kernels` package; ours must not hide it, nor anybody's `tests`.
    assert not list(ROOT.glob("*/__init__.py"))


def test_every_module_says_what_it_answers_for() -> None:
    silent = []
    for room in ("agent", "roles", "deploy", "inventory"):
        for file in files(room):
            if not ast.get_docstring(ast.parse(file.read_text())):
                silent.append(str(file.relative_to(ROOT)))
    assert not silent
