"""Inventory data, checked once at the door: every key known, every type right, each role's as its frozen dataclass."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from dsops.core.errors import DsopsError

T = TypeVar("T")
# pyinfra's own keys: connection (ssh_*), privileges (_sudo*), and the fake connector of tests.
FOREIGN = ("ssh_", "_", "fake_")
Numbers = dict[str, float]
KINDS = {
    int: "an integer",
    str: "a text",
    bool: "true or false",
    float: "a number",
    tuple[str, ...]: "a list of texts",
    Numbers: "a table of numbers",
}


def read_settings(kind: type[T], data: Mapping[str, Any], *, where: str) -> T:
    """The role's dataclass filled from inventory data, its defaults where the inventory is silent.

    where: the server's name, for errors. Raises DsopsError on a wrong type or a missing key.
    """
    hints = get_type_hints(kind)
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in data:
            values[field.name] = _read_value(data[field.name], hints[field.name], where=f"{where}/{field.name}")
        elif field.default is MISSING and field.default_factory is MISSING:
            raise DsopsError("must be given", where=f"{where}/{field.name}", mend="see inventory/example.py")
    return kind(**values)


def check_keys(data: Iterable[str], kinds: Iterable[type], *, where: str) -> list[str]:
    """One sentence for every key that no role knows, with the nearest one that exists."""
    known = {field.name for kind in kinds for field in fields(kind)}
    problems = []
    for key in sorted(data):
        if key not in known and not key.startswith(FOREIGN):
            near = difflib.get_close_matches(key, known, n=1)
            problems.append(f"{where}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return problems


def _read_value(value: Any, kind: Any, *, where: str) -> Any:
    if kind == tuple[str, ...] and isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == Numbers and isinstance(value, Mapping) and all(_is_number(one) for one in value.values()):
        return dict(value)
    if (
        isinstance(kind, type)
        and not hasattr(kind, "__args__")
        and isinstance(value, kind)
        and isinstance(value, bool) == (kind is bool)
    ):
        return value
    raise DsopsError(f"should be {KINDS.get(kind, kind)}, is {value!r}", where=where, mend="see the role's defaults.py")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
