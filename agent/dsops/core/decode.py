"""Plain data, from JSON or TOML, into frozen dataclasses, all of it checked; the error names the key."""

import dataclasses
import difflib
import types
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from dsops.core.errors import DsopsError

T = TypeVar("T")


def decode(cls: type[T], data: object, *, where: str) -> T:
    """The frozen dataclass `cls` from plain data, all of it checked. Raises DsopsError with the key."""
    if not isinstance(data, Mapping):
        raise DsopsError(f"should be a table, is {data!r}", where=where)
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cast(Any, cls)) if f.init}
    for key in data:
        if key not in fields:
            raise DsopsError(f"unknown key {key!r}", where=where, mend=suggest(str(key), fields))
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise DsopsError(f"the key {name!r} is missing", where=where, mend=f"add {name}")
    values = {k: _value(hints[k], v, where=f"{where}: {k}") for k, v in data.items()}
    return cls(**values)


def suggest(word: str, known: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    """`did you mean X?` for a misspelt word, else the list of what is known."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"


def _value(kind: Any, value: object, *, where: str) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _value(next(a for a in args if a is not type(None)), value, where=where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise DsopsError(f"should be a list, is {value!r}", where=where)
        return tuple(_value(args[0], item, where=f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind):
        return decode(cast(type, kind), value, where=where)
    return _plain(kind, value, where=where)


def _plain(kind: type, value: object, *, where: str) -> Any:
    if issubclass(kind, StrEnum):
        if isinstance(value, str) and value in list(kind):
            return kind(value)
        raise DsopsError(f"should be one of {', '.join(kind)}, is {value!r}", where=where)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise DsopsError(f"should be {_NAMES.get(kind, kind.__name__)}, is {value!r}", where=where)
    return value


_NAMES: dict[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
