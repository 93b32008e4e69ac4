"""Reads how people ask: the wordings of wordings.toml, in the order that the seeds count on."""

import tomllib
from pathlib import Path

_TABLES: dict[str, dict[str, list[str]]] = tomllib.loads(
    (Path(__file__).parent / "wordings.toml").read_text(encoding="utf-8")
)


def get_wordings(table: str) -> dict[str, list[str]]:
    """The wordings of one table by name."""
    return _TABLES[table]
