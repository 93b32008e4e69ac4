"""Nothing changes the store but through its door to the disk: what went past it would not be recorded."""

import ast
from collections.abc import Iterator
from pathlib import Path

AGENT = Path(__file__).parents[2] / "agent/dsops/node"
# Methods and functions that change a disk, by their last name; `open` and `os.open` are looked at more closely.
CHANGING = {
    "chmod", "chown", "copy", "copy2", "copyfile", "copytree", "fchmod", "fchown", "fdatasync", "fsync", "ftruncate",
    "hardlink_to", "link", "makedirs", "mkdir", "pwrite", "remove", "removedirs", "rename", "replace", "rmdir",
    "rmtree", "symlink", "symlink_to", "touch", "truncate", "unlink", "write_bytes", "write_text", "NamedTemporaryFile",
}  # fmt: skip
# Who may do so all the same, and why nothing is lost by it.
BESIDE = {
    "store/disk.py": "the door itself",
    "store/lock.py": "the words in the lock are for whoever looks; only the flock counts, and a cut frees it",
    "store/rate.py": "how fast the cold disk was: losing it costs a guess",
    "store/blobs.py: write_text rename": "what was hashed since the boot, in /run: losing it costs hashing again",
    "helper/server.py: unlink": "a left-over socket",
    "helper/disk_rate.py": "a file that the disk is measured with, in staging: the next start removes what a kill left",
    "helper/signature.py: NamedTemporaryFile": "a signature for ssh-keygen, in a /tmp of its own",
}
DOORS = {"disk", "_disk", "self"}  # `disk.rename`, `self._disk.rename`: through the door


def find_changes(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and (name := name_of(node)) and is_change(name, node):
            yield name


def name_of(node: ast.Call) -> str:
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute) and not is_door(node.func.value):
        return node.func.attr
    return ""


def is_door(value: ast.expr) -> bool:
    return (isinstance(value, ast.Attribute) and value.attr in DOORS) or (
        isinstance(value, ast.Name) and value.id in DOORS
    )


def is_change(name: str, node: ast.Call) -> bool:
    words = [one.value for one in (*node.args, *(key.value for key in node.keywords)) if isinstance(one, ast.Constant)]
    if name == "open":
        wants = {str(word) for word in words}
        return (
            bool({"w", "wb", "a", "ab", "r+b", "w+b", "x", "xb"} & wants)
            or "O_WRONLY" in ast.dump(node)
            or ("O_RDWR" in ast.dump(node) or "O_CREAT" in ast.dump(node))
        )
    if name == "replace":  # a text's, or dataclasses.replace
        return (
            isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and (node.func.value.id in ("os", "path", "file", "new"))
        )
    return name in CHANGING


def test_nothing_goes_past_the_door() -> None:
    beside = []
    for room in ("store", "helper"):
        for file in sorted((AGENT / room).glob("*.py")):
            short = f"{room}/{file.name}"
            may = BESIDE.get(short, "")
            named = next((key for key in BESIDE if key.startswith(f"{short}: ")), "")
            allowed = set(named.split(": ")[1].split()) if named else set()
            beside += [f"{short}: {name}" for name in find_changes(file) if not may and name not in allowed]
    assert beside == []


def test_the_scan_sees_what_goes_past_it(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text(
        "import os\nos.rename(a, b)\npath.write_text('x')\nopen(path, 'w')\n"
        "os.open(path, os.O_WRONLY)\npath.open('wb')\n"
        "self._disk.rename(a, b)\ndisk.unlink(a)\npath.open()\nos.open(path, os.O_RDONLY)\ntext.replace('a', 'b')\n"
    )
    assert sorted(find_changes(file)) == ["open", "open", "open", "rename", "write_text"]
