"""Which keys the roles of a checkout read, out of their defaults.py, without importing them.

Parsed and not imported: the roles are no part of the wheel, and reading what is asked for must run nothing.
"""

import ast
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


def parse_keys(text: str, *, role: str) -> list[Key]:
    """The annotated fields of every dataclass in a defaults.py. Raises DsopsError when it is not Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise DsopsError(f"is not Python: {error.msg}", where=f"roles/{role}/defaults.py:{error.lineno}") from error
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.decorator_list]
    fields = [node for one in classes for node in one.body if isinstance(node, ast.AnnAssign)]
    return [_read_field(field, role=role) for field in fields if isinstance(field.target, ast.Name)]


def _read_field(field: ast.AnnAssign, *, role: str) -> Key:
    assert isinstance(field.target, ast.Name)
    kind = ast.unparse(field.annotation)
    return Key(field.target.id, role, kind, is_required=field.value is None, default=_literal(field.value))


def _literal(value: ast.expr | None) -> Any:
    try:
        return None if value is None else ast.literal_eval(value)
    except ValueError:
        return None  # a call such as field(default_factory=...): given, but not for us to know
