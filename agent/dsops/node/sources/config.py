"""Reads a daemon's TOML file into its frozen dataclass; a key that nobody knows is refused."""

import tomllib
from pathlib import Path
from typing import TypeVar

from dsops.core.decode import decode
from dsops.core.errors import DsopsError

T = TypeVar("T")


def read_config(path: Path, cls: type[T]) -> T:
    """Raises DsopsError naming file, line or key, and what to write instead."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise DsopsError(
            f"cannot be read ({error})", where=str(path), mend="`dsops deploy` writes it; or pass --config"
        ) from error
    return parse_config(text, cls, where=str(path))


def parse_config(text: str, cls: type[T], *, where: str) -> T:
    """Pure: TOML text to `cls`. tomllib's message carries the line."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DsopsError(f"not TOML: {error}", where=where, mend="mend that line") from error
    return decode(cls, data, where=where)


def parse_listen(listen: str, *, where: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port` -> (host, port)."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) < 65536:
        raise DsopsError(f"{listen!r} is not host:port", where=where, mend="write e.g. 0.0.0.0:9410")
    return host.strip("[]"), int(port)
