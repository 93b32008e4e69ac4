"""What the roles of a checkout say of themselves: the keys that they read and the systems that they know.

Parsed and not imported: the roles are no part of the wheel, and reading what is asked for must run nothing.
"""

import ast
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsops.core.errors import DsopsError


@dataclass(frozen=True)
class Key:
    """One field of a role's dataclass. kind: its annotation as written, such as `int` or `tuple[str, ...]`."""

    name: str
    role: str
    kind: str
    is_required: bool
    default: Any = None


def read_keys(root: Path) -> dict[str, Key]:
    """Every key of roles/*/defaults.py below the checkout. Raises DsopsError when there are none."""
    files = sorted(root.glob("roles/*/defaults.py"))
    if not files:
        mend = "run it in a dsops checkout (the bundle contains one), or give --root"
        raise DsopsError("no roles here, so nobody knows which keys are right", where=str(root), mend=mend)
    return {key.name: key for file in files for key in parse_keys(file.read_text(), role=file.parent.name)}


def read_systems(root: Path) -> dict[str, str]:
    """Version of the C library -> the system that has it, such as `debian 12`. Raises DsopsError when not there."""
    file = root / "roles/ops/systems.toml"
    try:
        return {one["libc"]: f"{one['id']} {one['version']}" for one in tomllib.loads(file.read_text())["systems"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        mend = "run it in a whole dsops checkout, or give --root"
        raise DsopsError(f"the supported systems cannot be read ({error})", where=str(file), mend=mend) from error


def parse_keys(text: str, *, role: str) -> list[Key]:
    """The annotated fields of every dataclass in a defaults.py. Raises DsopsError when it is not Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise DsopsError(f"is not Python: {error.msg}", where=f"roles/{role}/defaults.py:{error.lineno}") from error
    constants = {one.targets[0].id: one.value for one in tree.body if _is_constant(one)}  # type: ignore[attr-defined]
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.decorator_list]
    fields = [node for one in classes for node in one.body if isinstance(node, ast.AnnAssign)]
    return [_read_field(field, constants, role=role) for field in fields if isinstance(field.target, ast.Name)]


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)


def _read_field(field: ast.AnnAssign, constants: Mapping[str, ast.expr], *, role: str) -> Key:
    assert isinstance(field.target, ast.Name)
    kind = ast.unparse(field.annotation)
    value = constants.get(field.value.id) if isinstance(field.value, ast.Name) else field.value
    return Key(field.target.id, role, kind, is_required=field.value is None, default=_literal(value))


def _literal(value: ast.expr | None) -> Any:
    try:
        return None if value is None else ast.literal_eval(value)
    except ValueError:
        return None  # a call such as field(default_factory=...): given, but not for us to know
